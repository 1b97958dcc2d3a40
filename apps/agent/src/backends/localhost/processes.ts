import { readFileSync, readdirSync } from 'node:fs'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

/** Says of one process whether it is meant; false for one that has gone. */
export type Predicate = (pid: number) => boolean

/** Processes with this uid as any of their four user ids. */
export function ofUid(...uids: readonly number[]): Predicate {
  return (pid) => {
    const status = readProcFile(pid, 'status')
    const ids = /^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$/m.exec(status)?.slice(1) ?? []
    return ids.some((id) => uids.includes(Number(id))) && !/^State:\t[ZX]/m.test(status)
  }
}

/** Processes that have exactly this variable in their environment, as far as this user may read it. */
export function markedBy(name: string, value: string): Predicate {
  return (pid) => `\0${readProcFile(pid, 'environ')}`.includes(`\0${name}=${value}\0`)
}

/** Not gone and no zombie (whose parent may never collect it). */
export function isAlive(pid: number): boolean {
  const state = readProcFile(pid, 'stat').split(') ').at(-1)?.[0]
  return state !== undefined && state !== 'Z' && state !== 'X'
}

/**
 * Kills every process that is meant, until there is none: none is found twice, and no pid was given out meanwhile (what
 * forks and ends while we read leaves a newer pid, and that appears in /proc a moment after it was given out).
 */
export async function killAll(meant: Predicate): Promise<void> {
  let lastWithout: number | undefined
  let before = new Set<number>()
  let stuckSince = 0
  for (let round = 1; ; round++) {
    const last = lastPid()
    // The newest first: a program that does nothing but fork and end has no other.
    const alive = allPids().toReversed().filter(meant)
    for (const pid of alive) kill(pid)
    if (alive.length === 0) {
      if (lastWithout === last && lastPid() === last) return
      lastWithout = last
    } else {
      lastWithout = undefined
      const now = performance.now()
      const found = new Set(alive)
      if (!found.isSubsetOf(before)) stuckSince = now
      before = found
      await pause(now - stuckSince)
    }
    if (round % 10 === 0) await setImmediate()
  }
}

/**
 * What does not go although it was killed may hang in the kernel for long: looking for it must not take a core. Others
 * that come all the time must be outrun.
 */
async function pause(stuckMs: number): Promise<void> {
  const ms = Math.min(100, Math.floor(stuckMs / 10))
  await (ms === 0 ? setImmediate() : sleep(ms))
}

/** SIGKILL; a process or group that is gone, or that we may not signal, is no error. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/** The pid that was given out last, to a process or a thread. */
function lastPid(): number {
  return Number(readFileSync('/proc/loadavg', 'latin1').trim().split(' ').at(-1))
}

function allPids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger)
}

function readProcFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    // gone, or another user's
    return ''
  }
}
