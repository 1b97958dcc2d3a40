import type { TimeConstants } from '@errand/shared'

/** A doubling window with full jitter: agents that lost one API together come back spread out. */
export class ReconnectWindow {
  readonly #time: TimeConstants
  readonly #random: () => number
  #window: number

  /** `random` draws from [0, 1). */
  constructor(time: TimeConstants, random: () => number) {
    this.#time = time
    this.#random = random
    this.#window = time.reconnectMinMs
  }

  /**
   * How long to wait before the next attempt, in milliseconds.
   *
   * @param mostMs where there is something to lose; never shorter than the first window
   */
  next(mostMs = Infinity): number {
    const delay = this.#random() * Math.min(this.#window, Math.max(mostMs, this.#time.reconnectMinMs))
    this.#window = Math.min(this.#window * 2, this.#time.reconnectMaxMs)
    return delay
  }

  /** After a session that held: begins at the first window again. */
  reset(): void {
    this.#window = this.#time.reconnectMinMs
  }

  /** Goes on with the largest window. */
  widen(): void {
    this.#window = this.#time.reconnectMaxMs
  }
}
