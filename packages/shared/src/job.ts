import { z } from 'zod'
import { executorType } from './executor-config.ts'
import { runtimeName } from './runtimes.ts'
import { outcome, status } from './status.ts'
import { submission } from './submission.ts'
import { dependencies } from './dependencies.ts'
import { idempotencyKey, name, seconds } from './text.ts'

/** What agents pull. An execution is a job of type `code.execute`. */
export const jobType = z.enum(['code.execute', 'docker_image.download', 'runtime.install'])
export type JobType = z.infer<typeof jobType>

/** Jobs that bring what executions need to where they run, in slots of the class `maintenance`. */
export const maintenanceType = jobType.exclude(['code.execute'])
export type MaintenanceType = z.infer<typeof maintenanceType>

/** Older spellings that are taken for them. */
export const jobTypeAliases: Readonly<Record<string, JobType>> = {
  'docker_image:download': 'docker_image.download',
}

/** As callers may write it. */
export const givenJobType = z.preprocess(
  (given) =>
    typeof given === 'string' && Object.hasOwn(jobTypeAliases, given) ? jobTypeAliases[given] : given,
  jobType,
)

/** Downloads the image of a docker executor to the Engine of each agent that serves it. */
export const downloadParams = z.strictObject({ code_executor: name })
export type DownloadParams = z.infer<typeof downloadParams>

/** Installs a dependency set for an executor, on each agent that serves it. */
export const installParams = z.strictObject({
  code_executor: name,
  /** The executor's own when absent. */
  runtime: runtimeName.optional(),
  /** Beside those that the executor names itself. */
  dependencies: dependencies.default([]),
})
export type InstallParams = z.infer<typeof installParams>

/** The schema of `params`, by type: what `GET /job-types` shows as JSON schema. */
export const jobParams = {
  'code.execute': submission,
  'docker_image.download': downloadParams,
  'runtime.install': installParams,
} as const satisfies Record<JobType, z.ZodType>

/** What `GET /job-types` says of each. */
export const jobTypeInfo = z.strictObject({
  type: jobType,
  /** Other spellings that are taken for it. */
  aliases: z.array(z.string()),
  description: z.string(),
  /** The JSON schema of `params`. */
  params_schema: z.record(z.string(), z.unknown()),
})
export type JobTypeInfo = z.infer<typeof jobTypeInfo>

/** How long a maintenance job may take, and how often it is tried, where its caller does not say: seconds, attempts. */
export const maintenanceDefaults = { timeout_sec: 1_800, max_attempts: 3 } as const

/**
 * The body of `POST /jobs`. `idempotency_key` is the header `Idempotency-Key` in another place. `timeout_sec` (of one
 * attempt) and `retry` are for maintenance jobs; those of `code.execute` lie in its params.
 */
export const newJob = z.strictObject({
  type: givenJobType,
  params: z.record(z.string(), z.unknown()).default({}),
  idempotency_key: idempotencyKey.optional(),
  timeout_sec: seconds.optional(),
  retry: z.strictObject({ max_attempts: z.int().min(1).max(10) }).optional(),
})
export type NewJob = z.infer<typeof newJob>

/**
 * How far a maintenance job is. Bytes are those that are fetched; `bytes_total` is null until all of it is known (each
 * layer of an image has started), and so is `percent`, which counts unpacking too and never falls.
 */
export const jobProgress = z.strictObject({
  phase: z.enum(['resolving', 'downloading', 'extracting', 'installing', 'done']),
  bytes_done: z.int().min(0),
  bytes_total: z.int().min(0).nullable(),
  percent: z.number().min(0).max(100).nullable(),
  bytes_per_sec: z.number().min(0).nullable(),
})
export type JobProgress = z.infer<typeof jobProgress>

/** What a maintenance job that succeeded tells of what it brought. */
export const jobResult = z.strictObject({
  /** Of an image: the registry's digest (`sha256:…`), null where it told none. Of a dependency set: its hash. */
  digest: z.string().max(256).nullable(),
  /** As it lies there, unpacked. */
  bytes: z.int().min(0),
  /** Whether it was there before, so that nothing was fetched. */
  already_there: z.boolean(),
  took_ms: z.number().min(0),
})
export type JobResult = z.infer<typeof jobResult>

/** A line of `GET /jobs/{id}/logs`. `message` is one line without control characters, of at most 8,192 characters. */
export const jobLogLine = z.strictObject({
  time: z.iso.datetime(),
  level: z.enum(['debug', 'info', 'warn', 'error']),
  message: z.string(),
  /** The attempt that it belongs to; 0 before the first. */
  attempt: z.int(),
  /** The job that it is of: the one that was asked for, or one of its parts. */
  job_id: z.uuid(),
})
export type JobLogLine = z.infer<typeof jobLogLine>

/** An attempt that ended, and how. */
export const jobAttempt = z.strictObject({
  attempt: z.int(),
  outcome,
  error: z.string().nullable(),
  agent_id: z.uuid().nullable(),
  ended_at: z.iso.datetime(),
})
export type JobAttempt = z.infer<typeof jobAttempt>

/** The part of a job that one agent does. */
export const jobPart = z.strictObject({
  id: z.uuid(),
  agent_id: z.uuid(),
  /** Its name; null once it is gone. */
  agent: z.string().nullable(),
  status,
  outcome: outcome.nullable(),
  error: z.string().nullable(),
  progress: jobProgress.nullable(),
  result: jobResult.nullable(),
})
export type JobPart = z.infer<typeof jobPart>

/**
 * `GET /jobs/{id}`; for an execution the fuller record is at `/executions/{id}`. A job that callers ask for has one
 * part for each agent (jobs of their own) and is `locked` while they are under way; `progress` is then that of all.
 */
export const job = z.strictObject({
  id: z.uuid(),
  type: jobType,
  status,
  outcome: outcome.nullable(),
  /** The executor's name and type. */
  code_executor: name,
  executor_type: executorType,
  attempt: z.int(),
  max_attempts: z.int(),
  /** Of one attempt. */
  timeout_sec: z.number(),
  agent_id: z.uuid().nullable(),
  locked_by: z.uuid().nullable(),
  waiting_reason: z.string().nullable(),
  error: z.string().nullable(),
  /** As they were understood; null for executions (see `/executions/{id}/request`). */
  params: z.record(z.string(), z.unknown()).nullable(),
  progress: jobProgress.nullable(),
  result: jobResult.nullable(),
  /** Those that have ended, oldest first. */
  attempts: z.array(jobAttempt),
  parts: z.array(jobPart),
  created_at: z.iso.datetime(),
  started_at: z.iso.datetime().nullable(),
  ended_at: z.iso.datetime().nullable(),
})
export type Job = z.infer<typeof job>

/** A row of `GET /jobs`. */
export const jobSummary = job.omit({ attempts: true, parts: true })
export type JobSummary = z.infer<typeof jobSummary>

/** The events of `GET /jobs/{id}/logs` as server-sent events, by their names. */
export interface JobEvents {
  log: JobLogLine
  status: Pick<Job, 'id' | 'status' | 'attempt' | 'waiting_reason' | 'locked_by' | 'error'>
  progress: JobProgress
  /** The last event; then the server ends the stream. */
  end: Job
}
