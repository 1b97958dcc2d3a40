import { statSync } from 'node:fs'
import type { Assignment } from '@errand/shared'
import { Rejected } from '../backend.ts'

/** What only control groups or quotas can keep; a limit that was set is kept or the job refused (promise 8). */
const unkept = new Set(['mem_limit_mb', 'cpus_limit_cores', 'pids_limit', 'disk_limit_mb', 'cpu_time_sec'])

/** @throws {Rejected} naming the limits that were set and that this host can't keep */
export function refuseUnkeptLimits({ required_limits }: Assignment): void {
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

/**
 * The kernel's room for arguments and environment together is a quarter of the stack limit, usually 8 MiB; what does
 * not fit would end as an error of the program, which it is not.
 *
 * @throws {Rejected}
 */
export function refuseOversized(words: readonly string[], env: Readonly<Record<string, string>>): void {
  const pointer = 8
  const sizes = [...words, ...Object.entries(env).map((pair) => pair.join('='))].map(
    (text) => Buffer.byteLength(text) + 1 + pointer,
  )
  if (sizes.reduce((sum, size) => sum + size, 0) > roomBytes)
    throw new Rejected(
      `arguments and environment together take more than the ${roomBytes} bytes that this host allows`,
    )
}

const roomBytes = 2 * 1024 * 1024 - 64 * 1024
