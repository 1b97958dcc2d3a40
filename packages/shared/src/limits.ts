import { z } from 'zod'
import { sizeLimits } from './size-limits.ts'

/**
 * What one execution may use. All optional: callers may lower what the executor allows, never raise it (422).
 * `output_limit_kb` is per stream and inclusive: a program that writes exactly that much is not cut.
 */
export const limits = z.strictObject({
  mem_limit_mb: z.int().min(4).max(1_048_576).optional(),
  cpus_limit_cores: z.number().min(0.01).max(1_024).optional(),
  pids_limit: z.int().min(1).max(4_194_304).optional(),
  output_limit_kb: z.int().min(1).max(sizeLimits.outputLimitKb).optional(),
  disk_limit_mb: z.int().min(1).max(1_048_576).optional(),
  cpu_time_sec: z.number().min(0.001).max(86_400).optional(),
})
export type Limits = z.infer<typeof limits>
export type LimitName = keyof Limits

/** The limits that were in force for an execution: what the record's `limits` shows. */
export const appliedLimits = limits.required({ output_limit_kb: true }).extend({ timeout_sec: z.number() })
export type AppliedLimits = z.infer<typeof appliedLimits>
