import type { Monotonic } from './monotonic.ts'

interface Sample {
  offset: number
  roundTrip: number
  takenAt: number
}

/** A better sample stands for this long: then drift between the clocks outweighs its precision. */
const staleMs = 300_000

/** The database's clock as this agent knows it: its own monotonic time and a measured offset. */
export class ServerClock {
  readonly #monotonic: Monotonic
  #best: Sample | undefined

  constructor(monotonic: Monotonic) {
    this.#monotonic = monotonic
  }

  /** Takes a frame's answer: when the frame was sent (monotonic) and the server's time in the answer. */
  measure(sentAt: number, serverTimeMs: number): void {
    const now = this.#monotonic()
    const roundTrip = now - sentAt
    const best = this.#best
    if (best && roundTrip > best.roundTrip && now - best.takenAt < staleMs) return
    this.#best = { offset: serverTimeMs - (sentAt + now) / 2, roundTrip, takenAt: now }
  }

  /** Unix milliseconds of the database's clock, whole. This host's wall clock before the first measurement. */
  now(): number {
    return this.at(this.#monotonic())
  }

  /** The same for a monotonic time. */
  at(monotonicMs: number): number {
    const offset = this.#best?.offset ?? Date.now() - this.#monotonic()
    return Math.round(monotonicMs + offset)
  }
}
