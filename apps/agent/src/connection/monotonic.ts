/**
 * Milliseconds since some moment before the boot, never set back. Unlike `performance.now()` it goes on across the
 * processes of one boot, so that a lease kept in the spool means the same to the next process.
 */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Where the agent's times come from; tests bring their own. */
export type Monotonic = () => number
