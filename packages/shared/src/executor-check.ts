import { z } from 'zod'
import { runtimeName } from './runtimes.ts'
import { name } from './text.ts'

/**
 * One thing that a check looked at. `what` is one of `policy connection host_key authentication sandbox image
 * interpreter limits disk agent` (newer agents may say more). `detail` says in words what works or what does not,
 * `advice` what to do about that.
 */
export const checkFinding = z.object({
  what: z.string().max(64),
  ok: z.boolean(),
  detail: z.string().max(1_000),
  advice: z.string().max(1_000).optional(),
})
export type CheckFinding = z.infer<typeof checkFinding>

/** What one agent found. `runtime_id` with its version (`python3.11.2`), null where the interpreter was not found. */
export const checkReport = z.object({
  runtime_id: z.string().max(128).nullable(),
  findings: z.array(checkFinding).max(64),
})
export type CheckReport = z.infer<typeof checkReport>

/** The body of `POST /executors/{name}/check`, which may be left out. */
export const checkRequest = z.strictObject({
  /** The executor's own when absent. */
  runtime: runtimeName.optional(),
})

/** What `POST /executors/{name}/check` answers: what each agent found that would get the executor's jobs. */
export const executorCheck = z.strictObject({
  name,
  config_id: z.uuid(),
  /** Whether its code would run now, whichever of the agents gets it. */
  ok: z.boolean(),
  /** Why not, beside what agents found: it is disabled, or there was no agent to ask (then `agents` is empty). */
  reason: z.string().nullable(),
  agents: z.array(z.strictObject({ agent_id: z.uuid(), agent: name, ok: z.boolean(), ...checkReport.shape })),
})
export type ExecutorCheck = z.infer<typeof executorCheck>
