import { isFinal } from '@errand/shared'
import type { ExecutionRow } from '../store/execution-row.ts'
import { Unavailable } from '../store/database.ts'
import type { Live } from './live.ts'
import { pause } from './pause.ts'

export interface FinalWatch extends Disposable {
  /**
   * The final row; or once `ms` have passed or one of the signals is aborted, the row as it was last read, undefined
   * when it was not.
   */
  within(ms: number, ...signals: readonly AbortSignal[]): Promise<ExecutionRow | undefined>
}

/**
 * Watches for the end of an execution from now on: begun before it is submitted, it can't miss the end, and needs
 * no read to learn of it. An end that another replica stored is read when that tells of it, and found by the poll.
 */
export function watchFinal(
  {
    live,
    read,
    pollEveryMs,
  }: { live: Live; read: () => Promise<ExecutionRow | undefined>; pollEveryMs: number },
  id: string,
): FinalWatch {
  const told = Promise.withResolvers<ExecutionRow>()
  let hinted = false
  let look = () => {}
  const unsubscribe = live.subscribe(id, (event) => {
    if (event.type === 'final') told.resolve(event.execution)
    if (event.type !== 'elsewhere' || event.event !== 'final') return
    hinted = true
    look()
  })
  return {
    async within(ms, ...signals) {
      const aborted = () => signals.some((signal) => signal.aborted)
      const deadline = performance.now() + ms
      let left = ms
      let latest: ExecutionRow | undefined
      while (left > 0 && !aborted()) {
        const rest = pause(Math.min(left, pollEveryMs), ...signals)
        look = rest.end
        if (hinted) look()
        const execution = await Promise.race([told.promise, rest.over])
        rest.end()
        if (execution) return execution
        if (aborted()) break
        hinted = false
        // Also when the time is up: then the answer is as new as can be
        latest = (await unlessAway(read)) ?? latest
        if (latest && isFinal(latest.status)) break
        left = deadline - performance.now()
      }
      return latest
    },
    [Symbol.dispose]: unsubscribe,
  }
}

/** What waits is stored already: that the database is away for a while is then no reason to answer 503. */
export async function unlessAway<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof Unavailable) return undefined
    throw error
  }
}
