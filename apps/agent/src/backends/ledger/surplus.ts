import type { Entry } from './ledger.ts'

export interface Room {
  /** All together may take this much. */
  mostBytes: number
  /** What was not used for longer goes in any case. */
  maxAgeMs: number
  /** Unix milliseconds. */
  now: number
}

/**
 * What is to go so that the rest fits: what is too old, and of the rest what was not used for longest. Never what is in
 * use, nor `sparing`, even if the rest does not fit then.
 *
 * @param entries most recently used first
 */
export function surplus<Facts>(
  entries: readonly Entry<Facts>[],
  { mostBytes, maxAgeMs, now }: Room,
  sparing?: string,
): Entry<Facts>[] {
  let total = entries.reduce((sum, { bytes }) => sum + bytes, 0)
  return entries.toReversed().filter((one) => {
    if (one.inUse || one.key === sparing) return false
    if (now - one.lastUsedAt <= maxAgeMs && total <= mostBytes) return false
    total -= one.bytes
    return true
  })
}
