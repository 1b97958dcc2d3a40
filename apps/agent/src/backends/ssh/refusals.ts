import type { Assignment } from '@errand/shared'
import { Rejected } from '../backend.ts'

/** What only control groups or quotas can keep, which a login user has not. The box keeps `cpu_time_sec` by itself. */
const unkept = new Set(['mem_limit_mb', 'cpus_limit_cores', 'pids_limit', 'disk_limit_mb'])

/** @throws {Rejected} naming the limits that were set and that a target can't keep (promise 8) */
export function refuseUnkeptLimits({ required_limits }: Pick<Assignment, 'required_limits'>): void {
  const asked = required_limits.filter((name) => unkept.has(name))
  if (asked.length > 0)
    throw new Rejected(
      `${asked.join(', ')} cannot be kept for a login user of an ssh target: control groups are missing`,
    )
}
