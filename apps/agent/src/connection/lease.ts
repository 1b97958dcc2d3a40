import type { TimeConstants } from '@errand/shared'
import type { Monotonic } from './monotonic.ts'

export interface LeaseParts {
  time: TimeConstants
  monotonic: Monotonic
  /** When the last acknowledged frame was sent, as an earlier process of this boot left it. */
  kept: number | undefined
  /** Keeps that for the next process; told at most once a second. */
  keep(sentAt: number): void
}

export interface LeaseEvents {
  /** The lease has run out: jobs with attempts left end, the socket counts for nothing. */
  ended(): void
  /** No acknowledged frame for `lostAfterMs`: every job ends. */
  lost(): void
}

const keepEveryMs = 1_000

/**
 * The agent's own view of its lease: from the moment it SENT the last hello or renewal that the API
 * acknowledged, so that it is never later than the API's (other frames are answered without a write to the session's
 * row, so they renew nothing). It is asked before anything starts and before anything is sent, as timers come late
 * after a SIGSTOP.
 */
export class Lease {
  readonly #parts: LeaseParts
  #sentAt: number
  #keptAt = -Infinity
  #timers: NodeJS.Timeout[] = []

  constructor(parts: LeaseParts) {
    this.#parts = parts
    // One of the future is of another boot.
    const kept = parts.kept
    this.#sentAt = kept !== undefined && kept <= parts.monotonic() ? kept : -Infinity
  }

  /** The API has answered a hello or renewal that was sent at `sentAt` (monotonic). */
  acknowledged(sentAt: number): void {
    if (sentAt <= this.#sentAt) return
    this.#sentAt = sentAt
    if (sentAt - this.#keptAt < keepEveryMs) return
    this.#keptAt = sentAt
    this.#parts.keep(sentAt)
  }

  /** Whether jobs may start and frames be sent. */
  get alive(): boolean {
    return this.leftMs > 0
  }

  /** Until it runs out, in milliseconds; not above 0 once it has. */
  get leftMs(): number {
    return this.#parts.time.leaseMs - this.#age()
  }

  /** Tells each time that the lease runs out, until `close`; also of one that had run out when an earlier process died. */
  watch(events: LeaseEvents): void {
    this.#watch(this.#parts.time.leaseMs, () => events.ended())
    this.#watch(this.#parts.time.lostAfterMs, () => events.lost())
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers = []
  }

  #age(): number {
    return this.#parts.monotonic() - this.#sentAt
  }

  /** Looks again when the newest acknowledgement would reach `afterMs`, and calls once for each acknowledgement. */
  #watch(afterMs: number, call: () => void): void {
    const index = this.#timers.length
    let calledFor = -Infinity
    const look = (): void => {
      const due = this.#age() >= afterMs
      if (due && calledFor !== this.#sentAt) {
        calledFor = this.#sentAt
        call()
      }
      const wait = due ? afterMs : afterMs - this.#age()
      this.#timers[index] = setTimeout(look, Math.max(1, wait)).unref()
    }
    this.#timers.push(setTimeout(look, 0).unref())
  }
}
