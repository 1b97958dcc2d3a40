import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { backupPath, pruneBackups } from './backups.ts'

export interface RotatingFileOptions {
  /** Absolute path of the file that is written to. */
  path: string
  /** A line that would bring the file above this many bytes goes to a new one; a longer line has a file alone. */
  maxBytes: number
  /** How many put aside files are kept; 0: any number. */
  maxBackups: number
  /** For how long they are kept; 0: for ever. */
  maxAgeMs: number
  /** Told in words, once, when something fails, and when it works again. */
  report: (text: string) => void
  now?: () => number
}

/** Characters that wait for a disk that takes nothing; beyond, new lines are dropped and counted. */
const waitingLimit = 1024 * 1024
const batchLimit = 64 * 1024
const retryMs = 1000

/**
 * A log file of a stable name that is put aside when it is full. Lines wait for the end of the current turn
 * of the event loop and are then written together. What fails (disk full, no permission, directory gone) is
 * told once and tried again each second; it neither throws nor waits.
 *
 * Writes are synchronous: some microseconds into the page cache for up to 64 KiB. In return the exit of the
 * process can write out what is left, in order, with nothing in flight.
 */
export class RotatingFile {
  readonly #options: RotatingFileOptions
  readonly #now: () => number
  #fd: number | undefined
  #size = 0
  #checkedAt = -Infinity
  #rotateAfter = -Infinity
  #lines: string[] = []
  /** Characters in `#lines`. */
  #waiting = 0
  /** Whole lines for the current file, of which some bytes may be written already. */
  #batch: Buffer = Buffer.alloc(0)
  #dropped = 0
  /** Takes back the flush that is due. */
  #scheduled: (() => void) | undefined
  #failures = new Set<'write' | 'rotate' | 'prune'>()
  #closed = false

  constructor(options: RotatingFileOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Takes one line, its newline included. */
  write(line: string): void {
    if (this.#closed) return
    const failing = this.#failures.has('write')
    if (failing && this.#waiting > waitingLimit) {
      this.#dropped += 1
      return
    }
    this.#lines.push(line)
    this.#waiting += line.length
    if (!failing && this.#waiting > batchLimit) this.flushSync()
    else this.#schedule()
  }

  /** Writes out what waits. Never throws. The name is the one that pino calls after a `fatal` line. */
  flushSync(): void {
    this.#unschedule()
    if (!this.#attempt('write', 'write', () => this.#drain())) this.#schedule()
    else if (this.#dropped > 0) {
      const msg = `${this.#dropped} log lines were dropped while this file could not be written`
      this.#dropped = 0
      this.write(`${JSON.stringify({ level: 40, time: this.#now(), msg })}\n`)
    }
  }

  /** Writes out what waits and takes no more. What can't be written now is lost, and said to be. */
  close(): void {
    if (this.#closed) return
    this.flushSync()
    this.flushSync() // the line about dropped ones
    this.#closed = true
    this.#unschedule()
    if (this.#failures.has('write')) this.#options.report(`${this.#options.path} lacks the last lines`)
    this.#closeFile()
  }

  #drain(): void {
    while (this.#batch.length > 0 || this.#fillBatch()) {
      // May take only some of the bytes, and fail for the rest. The rest of a line must follow in the same file:
      // it stays in the batch, and the file changes only between batches.
      const written = writeSync(this.#fd ?? this.#open(), this.#batch)
      this.#size += written
      this.#batch = this.#batch.subarray(written)
    }
  }

  /** Moves lines that fit into one file from the queue to the batch, after putting a full file aside. */
  #fillBatch(): boolean {
    const [first] = this.#lines
    if (first === undefined) return false
    this.#noticeReplacement()
    if (this.#fd === undefined) this.#open()
    if (this.#size > 0 && this.#size + Buffer.byteLength(first) > this.#options.maxBytes) this.#rotate()

    const room = Math.min(batchLimit, this.#options.maxBytes - this.#size)
    let bytes = 0
    const end = this.#lines.findIndex((line, index) => (bytes += Buffer.byteLength(line)) > room && index > 0)
    const text = this.#lines.splice(0, end === -1 ? this.#lines.length : end).join('')
    this.#waiting -= text.length
    this.#batch = Buffer.from(text)
    return true
  }

  /** The file may have been deleted, renamed or cut by someone else. Looked at once a second. */
  #noticeReplacement(): void {
    if (this.#fd === undefined || this.#now() - this.#checkedAt < retryMs) return
    this.#checkedAt = this.#now()
    const ours = fstatSync(this.#fd)
    const there = statSync(this.#options.path, { throwIfNoEntry: false })
    if (there?.ino === ours.ino && there.dev === ours.dev) this.#size = ours.size
    else this.#closeFile()
  }

  #open(): number {
    const { path, maxBackups, maxAgeMs } = this.#options
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const fd = openSync(
      path,
      constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK,
      0o600,
    )
    try {
      const stat = fstatSync(fd)
      // Such as /dev/stdout: putting it aside would rename the device.
      if (!stat.isFile()) throw new Error('not a regular file')
      // A line that was cut by the end of an earlier process must not swallow our first one.
      this.#size = stat.size + (endsInsideLine(fd, stat.size) ? writeSync(fd, '\n') : 0)
    } catch (error) {
      closeSync(fd)
      throw error
    }
    this.#fd = fd
    this.#checkedAt = this.#now()
    this.#attempt('prune', 'delete old files of', () => pruneBackups(path, maxBackups, maxAgeMs, this.#now()))
    return fd
  }

  /** Where the file can't be put aside it is written on, and the next attempt is made a second later. */
  #rotate(): void {
    const { path } = this.#options
    if (this.#now() < this.#rotateAfter) return
    if (this.#attempt('rotate', 'put aside', () => renameSync(path, backupPath(path, this.#now())))) {
      this.#closeFile()
      this.#open()
    } else {
      this.#rotateAfter = this.#now() + retryMs
    }
  }

  #closeFile(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    closeSync(fd)
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return
    const flush = (): void => this.flushSync()
    if (this.#failures.has('write')) {
      const timer = setTimeout(flush, retryMs).unref()
      this.#scheduled = () => clearTimeout(timer)
    } else {
      const immediate = setImmediate(flush)
      this.#scheduled = () => clearImmediate(immediate)
    }
  }

  #unschedule(): void {
    this.#scheduled?.()
    this.#scheduled = undefined
  }

  /** Whether `act` succeeded; its first failure in a row is reported, and the success that ends the row. */
  #attempt(kind: 'write' | 'rotate' | 'prune', words: string, act: () => void): boolean {
    const { path, report } = this.#options
    try {
      act()
      if (this.#failures.delete(kind)) report(`can ${words} ${path} again`)
      return true
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (!this.#failures.has(kind)) report(`cannot ${words} ${path}: ${reason}`)
      this.#failures.add(kind)
      return false
    }
  }
}

function endsInsideLine(fd: number, size: number): boolean {
  const last = Buffer.alloc(1)
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a
}
