import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { backupName, pruneBackups } from './backups.ts'

export interface RotatingFileOptions {
  /** Absolute path of the file that is written to. */
  path: string
  /** A line that would bring the file above this many bytes goes to a new one; a longer line has a file alone. */
  maxBytes: number
  /** How many put aside files are kept; 0: any number. */
  maxBackups: number
  /** For how long they are kept; 0: for ever. */
  maxAgeMs: number
  /** Told once when writing fails, and once when it works again or lines were lost. */
  report: (text: string) => void
  now?: () => number
}

/** Lines that wait for a disk that takes nothing, in characters; beyond, new ones are dropped and counted. */
const waitingLimit = 1024 * 1024
const batchBytes = 64 * 1024
const retryMs = 1000

/**
 * A log file of a stable name that is put aside when it is full. Lines wait for the end of the current turn
 * of the event loop and are then written together. What fails (disk full, no permission, directory gone) is
 * told once and tried again each second; it neither throws nor waits.
 *
 * Writes are synchronous: some microseconds into the page cache for up to 64 KiB, and in return the exit of
 * the process can write out what is left, in order, with nothing in flight.
 */
export class RotatingFile {
  readonly #options: RotatingFileOptions
  readonly #now: () => number
  #fd: number | undefined
  #size = 0
  #checkedAt = -Infinity
  #lines: string[] = []
  #waiting = 0
  #dropped = 0
  /** Whole lines for the current file, of which some bytes may be written already. */
  #batch: Buffer = Buffer.alloc(0)
  #scheduled: NodeJS.Immediate | NodeJS.Timeout | undefined
  #failing = false
  #keepSize = -Infinity
  #closed = false

  constructor(options: RotatingFileOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Takes one line, its newline included. */
  write(line: string): void {
    if (this.#closed) return
    if (this.#waiting + line.length > waitingLimit && this.#failing) {
      this.#dropped += 1
      return
    }
    this.#lines.push(line)
    this.#waiting += line.length
    if (this.#waiting > waitingLimit && !this.#failing) this.flushSync()
    else this.#scheduled ??= setImmediate(() => this.flushSync())
  }

  /** Writes out what waits; the name is the one that pino calls after a `fatal` line. Never throws. */
  flushSync(): void {
    this.#unschedule()
    try {
      this.#drain()
      if (this.#failing) this.#options.report(`logging: ${this.#options.path} is being written again`)
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.#options.report(`logging: cannot write ${this.#options.path}: ${reason(error)}; trying on`)
      this.#failing = true
      this.#scheduled = setTimeout(() => this.flushSync(), retryMs).unref()
    }
  }

  /** Writes out what waits and takes no more. Lines that can't be written are counted in a last report. */
  close(): void {
    if (this.#closed) return
    this.flushSync()
    this.#closed = true
    this.#unschedule()
    if (this.#failing) this.#options.report(`logging: lines for ${this.#options.path} were lost`)
    this.#closeFile()
  }

  #drain(): void {
    while (this.#batch.length > 0 || this.#nextBatch()) {
      const fd = this.#fd ?? this.#openFile()
      // May write less than it was given, or fail after some of it. The rest of a line must follow in the same
      // file, so what is left stays in the batch, and files change only between batches.
      const written = writeSync(fd, this.#batch)
      this.#size += written
      this.#batch = this.#batch.subarray(written)
    }
  }

  /** Moves lines that fit into the current file from the queue to the batch; false if none wait. */
  #nextBatch(): boolean {
    if (this.#lines.length === 0) return false
    this.#noticeReplacement()
    const room = this.#roomFor(Buffer.byteLength(this.#lines[0]!))
    let bytes = 0
    let count = 0
    for (const line of this.#lines) {
      bytes += Buffer.byteLength(line)
      if (count > 0 && bytes > Math.min(room, batchBytes)) break
      count += 1
    }
    const taken = this.#lines.splice(0, count).join('')
    this.#waiting -= taken.length
    this.#batch = Buffer.from(taken + this.#lossNote())
    return true
  }

  /** How much the current file still takes, after it was put aside if it can't take the next line. */
  #roomFor(bytes: number): number {
    const { maxBytes } = this.#options
    if (this.#fd === undefined) this.#openFile()
    if (this.#size > 0 && this.#size + bytes > maxBytes) this.#rotate()
    return maxBytes - this.#size
  }
}
