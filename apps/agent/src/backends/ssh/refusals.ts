import type { Assignment } from '@errand/shared'
import { Rejected } from '../backend.ts'

/** What only control groups or quotas can keep, which a login user has not; `cpu_time_sec` the box keeps by itself. */
const unkept = {
  box: new Set(['mem_limit_mb', 'cpus_limit_cores', 'pids_limit', 'disk_limit_mb']),
  shell: new Set(['mem_limit_mb', 'cpus_limit_cores', 'pids_limit', 'disk_limit_mb', 'cpu_time_sec']),
}

/** @throws {Rejected} naming the limits that were set and that a target can't keep (promise 8) */
export function refuseUnkeptLimits(
  { required_limits }: Pick<Assignment, 'required_limits'>,
  helper: keyof typeof unkept,
): void {
  const asked = required_limits.filter((name) => unkept[helper].has(name))
  if (asked.length > 0)
    throw new Rejected(
      `${asked.join(', ')} cannot be kept for a login user of an ssh target: ${missing[helper]}`,
    )
}

const missing = {
  box: 'control groups are missing',
  shell: 'control groups are missing, and the box cannot run there',
}
