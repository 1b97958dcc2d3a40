import type { TimeConstants } from '@errand/shared'

/** Who of many that connect at once comes in. */
export interface Admission {
  /** Undefined where it may come in, else the milliseconds after which to try again. */
  admit(): number | undefined
  /** From now on nobody comes in. */
  close(): void
}

/** So many may come in at once after a quiet time. */
const burst = 20

/**
 * Lets in one each `admitEveryMs`, and sends the others away, each to a moment of its own when it would be its turn: after
 * a restart a thousand agents come back within seconds, and each costs the database several statements.
 */
export function createAdmission(
  time: Pick<TimeConstants, 'admitEveryMs' | 'reconnectMinMs' | 'leaseMs'>,
  { now, random }: { now: () => number; random: () => number },
): Admission {
  let open = true
  /** When the next one is due, and when those that were sent away will have had their turn. */
  let nextAt = -Infinity
  let turnAt = -Infinity

  return {
    admit() {
      const at = now()
      if (!open) return Math.round(random() * time.reconnectMinMs)
      nextAt = Math.max(nextAt, at - burst * time.admitEveryMs)
      if (nextAt <= at) {
        nextAt += time.admitEveryMs
        return undefined
      }
      turnAt = Math.max(turnAt, at) + time.admitEveryMs
      // Half an hour of turns helps nobody whose lease runs out before.
      const untilTurn = Math.min(turnAt - at, time.leaseMs / 2)
      return Math.round(untilTurn + random() * Math.max(untilTurn, time.admitEveryMs * burst))
    },
    close() {
      open = false
    },
  }
}
