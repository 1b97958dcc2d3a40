import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** An exclusive hold on a directory, until `release` or the end of this process, whichever comes first. */
export interface DirectoryLock extends Disposable {
  readonly dir: string
  /** Lets another process in. Calling it again does nothing. */
  release(): void
}

/** Another process (or an earlier lock of this one) holds the directory. */
export class DirectoryLocked extends Error {
  override readonly name = 'DirectoryLocked'
  readonly dir: string
  /** The holder's process id; undefined for the instant in which the holder has not yet written it. */
  readonly pid: number | undefined

  constructor(dir: string, pid: number | undefined) {
    super(pid ? `${dir} is in use by process ${pid}` : `${dir} is in use by another process`)
    this.dir = dir
    this.pid = pid
  }
}

/**
 * Locks `dir` for this process, making it (0700) where it is missing. Does not wait.
 *
 * The lock is the kernel's: it ends with the process, however that dies, and its children do not inherit it.
 * Node offers no file locks of its own, but SQLite takes one on `dir/lock` and Node brings SQLite. No other
 * code may open `dir/lock` in this process: closing any descriptor of a file drops the process's locks on it.
 *
 * @throws {DirectoryLocked} where it is held
 */
export function lockDirectory(dir: string): DirectoryLock {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const pidFile = join(dir, 'pid')
  const database = openLocked(dir, pidFile)

  const release = (): void => {
    if (!database.isOpen) return
    process.off('exit', release)
    process.setMaxListeners(process.getMaxListeners() - 1)
    try {
      writeFileSync(pidFile, '')
    } catch {
      // Only the name in an error message; the lock itself ends below. An exit must not fail for it.
    }
    database.close()
  }
  // Also what keeps the database from the garbage collector, which would close it and so drop the lock.
  process.on('exit', release)
  // A root agent holds one for each slot, which is no leak.
  process.setMaxListeners(process.getMaxListeners() + 1)
  try {
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o644 })
  } catch (error) {
    release()
    throw error
  }
  return { dir, release, [Symbol.dispose]: release }
}

const sqliteBusy = 5

function openLocked(dir: string, pidFile: string): DatabaseSync {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(join(dir, 'lock'), { timeout: 0 })
    // IMMEDIATE, not EXCLUSIVE: of two that start at once exactly one gets it. EXCLUSIVE also fails on a
    // reader, which is what the loser is for a moment, so both could lose.
    database.exec('BEGIN IMMEDIATE')
    return database
  } catch (error) {
    if (database?.isOpen) database.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy) {
      throw new DirectoryLocked(dir, readPid(pidFile))
    }
    throw new Error(`cannot lock ${dir}`, { cause: error })
  }
}

function readPid(pidFile: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(pidFile, 'utf8'), 10) || undefined
  } catch {
    return undefined
  }
}
