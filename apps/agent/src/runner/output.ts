import { createHash } from 'node:crypto'
import { sizeLimits } from '@errand/shared'
import type { Stream, StreamTotals } from '@errand/shared'
import { Replay } from '../backends/replay.ts'

export interface OutputParts {
  /** The most bytes of each stream that are stored; exactly so many pass uncut. */
  capBytes: number
  /** Bytes wait at most this long before they are spooled; while small pieces follow each other, twice as long. */
  flushEveryMs: number
  /** Keeps bytes for good; throws when it can't. */
  spool(stream: Stream, offset: number, bytes: Uint8Array): void
  /** The spool could not take more; what follows is cut. */
  onSpoolFailure(error: unknown): void
}

interface StreamState {
  bytes: number
  /** Of those, the first so many were taken for storing: spooled or pending. */
  taken: number
  stored: number
  truncated: boolean
  pending: Uint8Array[]
  hash: ReturnType<typeof createHash>
  /** Of an adopted run. */
  replay?: Replay
}

/**
 * The output of one run: counts every byte, keeps an exact prefix of each stream up to the cap (promise 4), in pieces
 * of at most 64 KiB.
 */
export class Output {
  readonly #parts: OutputParts
  readonly #streams: Record<Stream, StreamState> = { stdout: newStream(), stderr: newStream() }
  #timer: NodeJS.Timeout | undefined
  #flushedAt = -Infinity
  /** Called when a stream goes beyond its cap. */
  onLimit: (stream: Stream) => void = () => {}

  constructor(parts: OutputParts) {
    this.#parts = parts
  }

  /** Goes on with a stream of which an earlier process stored this, and which comes from its beginning. */
  resume(stream: Stream, stored: Iterable<Uint8Array>): void {
    const state = this.#streams[stream]
    for (const bytes of stored) {
      state.hash.update(bytes)
      state.stored += bytes.length
    }
    state.bytes = state.taken = state.stored
    state.replay = new Replay(state.stored, state.hash.copy().digest())
  }

  /** Whether all that was resumed has come again. */
  get caughtUp(): boolean {
    return Object.values(this.#streams).every(({ replay }) => replay?.isOver ?? true)
  }

  /** @throws {Lost} where what was resumed is not what comes again */
  write(stream: Stream, written: Uint8Array): void {
    const state = this.#streams[stream]
    const bytes = state.replay?.take(written) ?? written
    const room = state.truncated ? 0 : this.#parts.capBytes - state.taken
    state.bytes += bytes.length
    const kept = bytes.length > room ? bytes.subarray(0, room) : bytes
    if (kept.length > 0) this.#take(stream, state, kept)
    if (kept.length < bytes.length) this.#cut(stream, state)
  }

  /** The program has written so many bytes, of which those beyond the cap need not have come here. */
  counted(stream: Stream, bytes: number): void {
    const state = this.#streams[stream]
    if (bytes <= state.bytes) return
    state.bytes = bytes
    this.#cut(stream, state)
  }

  /** After the last byte. `bytes` are true counts; `sha256` is of the stored prefix. */
  end(): Record<Stream, StreamTotals> {
    this.#flushAll()
    const totals = ({ bytes, stored, truncated, hash }: StreamState): StreamTotals => ({
      bytes,
      stored,
      truncated,
      sha256: hash.digest('hex'),
    })
    return { stdout: totals(this.#streams.stdout), stderr: totals(this.#streams.stderr) }
  }

  #cut(stream: Stream, state: StreamState): void {
    if (state.truncated) return
    state.truncated = true
    this.onLimit(stream)
  }

  #take(stream: Stream, state: StreamState, bytes: Uint8Array): void {
    state.pending.push(bytes)
    state.taken += bytes.length
    if (state.taken - state.stored >= sizeLimits.outputChunk) this.#flush(stream, state)
    else this.#timer ??= setTimeout(() => this.#flushAll(), this.#restMs())
  }

  /** A program that writes byte by byte makes ten small pieces a second, not twenty; who writes now and then waits no longer for it. */
  #restMs(): number {
    const { flushEveryMs } = this.#parts
    return Math.max(flushEveryMs, this.#flushedAt + 2 * flushEveryMs - performance.now())
  }

  #flushAll(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushedAt = performance.now()
    this.#flush('stdout', this.#streams.stdout)
    this.#flush('stderr', this.#streams.stderr)
  }

  #flush(stream: Stream, state: StreamState): void {
    if (state.pending.length === 0) return
    const bytes = state.pending.length === 1 ? state.pending[0]! : Buffer.concat(state.pending)
    state.pending = []
    try {
      for (let start = 0; start < bytes.length; start += sizeLimits.outputChunk) {
        const chunk = bytes.subarray(start, start + sizeLimits.outputChunk)
        this.#parts.spool(stream, state.stored, chunk)
        state.stored += chunk.length
        state.hash.update(chunk)
      }
    } catch (error) {
      // The prefix that was kept stays exact; the counts go on.
      state.truncated = true
      state.taken = state.stored
      this.#parts.onSpoolFailure(error)
    }
  }
}

function newStream(): StreamState {
  return { bytes: 0, taken: 0, stored: 0, truncated: false, pending: [], hash: createHash('sha256') }
}
