import {
  type AppliedLimits,
  type ExecutorSettings,
  type LimitName,
  type ProblemDetail,
  type Submission,
  limits,
  maxTimeoutSec,
} from '@errand/shared'
import { invalid } from '../http/validate.ts'

const limitNames = limits.keyof().options

/**
 * The limits of one execution: the caller's where set, else the executor's. Throws 422 with what is allowed where the
 * caller asks for more than the executor has. `required` are those that a backend must keep or refuse the job: all
 * that are in force, for an executor without the means (localhost, ssh) has none that nobody set. The output limit
 * is kept everywhere.
 *
 * What a container writes lies in its memory, so docker's disk limit is never more than half of its memory limit,
 * whatever was asked for: the record tells what was applied.
 */
export function limitsInForce(
  executor: ExecutorSettings,
  submission: Pick<Submission, 'limits' | 'timeout_sec'>,
): { limits: AppliedLimits; required: LimitName[] } {
  const errors: ProblemDetail[] = []
  const longest = maxTimeoutSec(executor)
  const timeout = submission.timeout_sec ?? executor.timeout_sec
  if (timeout > longest)
    errors.push({ pointer: '/timeout_sec', detail: `must be at most ${longest}, which the executor allows` })

  const inForce: AppliedLimits = { output_limit_kb: executor.output_limit_kb, timeout_sec: timeout }
  for (const name of limitNames) {
    // Executors have no limit of their own on cpu time
    const most = name === 'cpu_time_sec' ? undefined : executor[name]
    const asked = submission.limits[name]
    if (most !== undefined && asked !== undefined && asked > most)
      errors.push({
        pointer: `/limits/${name}`,
        detail: `must be at most ${most}, which the executor allows`,
      })
    const value = asked ?? most
    if (value !== undefined) inForce[name] = value
  }
  if (errors.length > 0) throw invalid(errors)
  if (executor.executor_type === 'docker')
    inForce.disk_limit_mb = Math.min(inForce.disk_limit_mb!, Math.floor(inForce.mem_limit_mb! / 2))
  return {
    limits: inForce,
    required: limitNames.filter((name) => name !== 'output_limit_kb' && inForce[name] !== undefined),
  }
}
