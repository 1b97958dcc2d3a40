import { z } from 'zod'
import { executorType } from '../executor-config.ts'
import { jobType } from '../job.ts'
import { appliedLimits } from '../limits.ts'
import { runtimeName } from '../runtimes.ts'
import { slotClass } from '../agent.ts'

/**
 * What an agent needs to run one claim of a job. `fence` rises with every claim and goes along with every message
 * about it. The submission is either here (`request`) or, when it is large, at `/agents/work/{id}/input`,
 * to be fetched with `input.token`, which is bound to this fence.
 */
export const assignment = z.object({
  id: z.uuid(),
  fence: z.int(),
  type: jobType.default('code.execute'),
  slot_class: slotClass,
  /** The starts and unproven ends before this claim. */
  attempt: z.int(),
  /** Whether another attempt is allowed after this one: then a lost lease ends it at once. */
  attempts_left: z.boolean(),
  /** Unix milliseconds of the database's clock; 0 from an older API. */
  submitted_at_ms: z.number().default(0),
  executor: z.object({
    executor_type: executorType,
    name: z.string(),
    config_id: z.uuid(),
    /** What the operator wrote in `config.yaml` may exceed the agent's own defaults, what came by REST may not. */
    source: z.enum(['config', 'default', 'rest']),
    /** The validated configuration of that type, with secrets. */
    settings: z.record(z.string(), z.unknown()),
  }),
  runtime: runtimeName,
  limits: appliedLimits,
  /** Limits that the caller or the executor set by name, which must be kept or the job refused. */
  required_limits: z.array(z.string()),
  /** Of a maintenance job: its params. */
  request: z.unknown().optional(),
  input: z.object({ token: z.string(), bytes: z.int(), sha256: z.string() }).optional(),
})
export type Assignment = z.infer<typeof assignment>

/** What an agent may keep of it on its disk: neither settings, which hold secrets, nor what was submitted. */
export const keptAssignment = assignment
  .omit({ request: true, input: true })
  .extend({ executor: assignment.shape.executor.omit({ settings: true }) })
export type KeptAssignment = z.infer<typeof keptAssignment>

/** The part of it that says where and how code would run, for a check of that. */
export const assignedExecutor = assignment.pick({
  executor: true,
  runtime: true,
  limits: true,
  required_limits: true,
})
export type AssignedExecutor = z.infer<typeof assignedExecutor>
