import { z } from 'zod'
import { outcome, status } from './status.ts'

/** What agents pull. An execution is a job of type `code.execute`; both spellings of the download are one type. */
export const jobType = z.enum(['code.execute', 'docker_image.download', 'runtime.install'])
export type JobType = z.infer<typeof jobType>

/** `GET /jobs/{id}`; for an execution the fuller record is at `/executions/{id}`. */
export const job = z.strictObject({
  id: z.uuid(),
  type: jobType,
  status,
  outcome: outcome.nullable(),
  attempt: z.int(),
  max_attempts: z.int(),
  agent_id: z.uuid().nullable(),
  locked_by: z.uuid().nullable(),
  waiting_reason: z.string().nullable(),
  error: z.string().nullable(),
  created_at: z.iso.datetime(),
  ended_at: z.iso.datetime().nullable(),
})
export type Job = z.infer<typeof job>
