import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DirectoryLocked, lockDirectory } from '@errand/host/directory-lock'
import type { DirectoryLock } from '@errand/host/directory-lock'

/** Between Debian's and systemd's own ranges; systemd's dynamic users begin at 61184. */
const firstUid = 61_000
const lastUid = 61_183

/** User ids that no other agent of this host uses, one for each slot at least; held until `release`. */
export interface SlotUids {
  readonly uids: readonly number[]
  release(): void
}

/**
 * Takes uids for a root agent. Those that `stateFile` remembers come first and are all taken, so that what an agent
 * that died left running is found under them.
 *
 * @throws when there are not enough
 */
export function takeSlotUids(count: number, stateFile: string, lockRoot = '/run/errand/uids'): SlotUids {
  const earlier = readUids(stateFile)
  const accounts = accountUids()
  const locks = new Map<number, DirectoryLock>()
  const take = (uid: number): void => {
    if (accounts.has(uid) || locks.has(uid)) return
    const lock = tryLock(join(lockRoot, String(uid)))
    if (lock) locks.set(uid, lock)
  }
  const release = (): void => locks.forEach((lock) => lock.release())
  earlier.forEach(take)
  for (let uid = firstUid; uid <= lastUid && locks.size < count; uid++) take(uid)
  if (locks.size < count) {
    release()
    throw new Error(
      `of the user ids ${firstUid} to ${lastUid} only ${locks.size} are free, ${count} are needed`,
    )
  }
  const uids = [...locks.keys()]
  mkdirSync(dirname(stateFile), { recursive: true, mode: 0o700 })
  writeFileSync(stateFile, JSON.stringify(uids))
  return { uids, release }
}

function tryLock(dir: string): DirectoryLock | undefined {
  try {
    return lockDirectory(dir)
  } catch (error) {
    if (error instanceof DirectoryLocked) return undefined
    throw error
  }
}

function readUids(stateFile: string): number[] {
  try {
    const uids: unknown = JSON.parse(readFileSync(stateFile, 'utf8'))
    return Array.isArray(uids) ? uids.filter((uid) => uid >= firstUid && uid <= lastUid) : []
  } catch {
    // first start, or cut short by a crash: then `recover` of whoever takes the uids next ends what runs under them
    return []
  }
}

function accountUids(): Set<number> {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  return new Set(lines.map((line) => Number(line.split(':')[2])))
}
