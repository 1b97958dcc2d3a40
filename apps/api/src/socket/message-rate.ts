/** Messages of one agent: what the largest hosts need is well below, and what waits after an outage may come at once. */
const perSecond = 5_000
const atOnce = 20_000

export interface MessageRate {
  /** Counts one more; false when that is too many. */
  allows(): boolean
}

/** `now` in milliseconds, never set back. */
export function createMessageRate(now: () => number): MessageRate {
  let left = atOnce
  let countedAt = now()
  return {
    allows() {
      const at = now()
      left = Math.min(atOnce, left + ((at - countedAt) / 1_000) * perSecond) - 1
      countedAt = at
      return left >= 0
    },
  }
}
