import { statSync } from 'node:fs'
import type { Assignment } from '@errand/shared'
import { Rejected } from '../backend.ts'

/** What only control groups or quotas can keep; a limit that was set is kept or the job refused (promise 8). */
const unkept = new Set(['mem_limit_mb', 'cpus_limit_cores', 'pids_limit', 'disk_limit_mb', 'cpu_time_sec'])

/** @throws {Rejected} naming the limits that were set and that this host can't keep */
export function refuseUnkeptLimits({ required_limits }: Pick<Assignment, 'required_limits'>): void {
  const asked = required_limits.filter((name) => unkept.has(name))
  if (asked.length > 0)
    throw new Rejected(
      `this agent cannot keep ${asked.join(', ')} for code on its own host: control groups are missing`,
    )
}

/**
 * In a folder that others may write to, a program could put a link in place of its own directory, which the agent
 * then follows.
 *
 * @throws {Rejected}
 */
export function refuseSharedRoot(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat?.isDirectory()) throw new Rejected(`the work_dir ${path} is no directory on this host`)
  if ((stat.mode & 0o022) !== 0)
    throw new Rejected(`the work_dir ${path} is writable by others than its owner`)
}
