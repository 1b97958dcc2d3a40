import type { Live, LiveEvent } from './live.ts'
import { pause } from './pause.ts'

export interface Hints extends Disposable {
  /** Also of these from now on. */
  watch(ids: readonly string[]): void
  /** Over when something was published since the last call, after `ms`, or on an abort. */
  next(ms: number, signal: AbortSignal): Promise<void>
}

/** Tells that something has happened to any of several jobs that matters; what it was stands in the store. */
export function openHints(live: Live, matters: (event: LiveEvent) => boolean): Hints {
  const unsubscribes = new Map<string, () => void>()
  let hinted = false
  let wake = () => {}
  return {
    watch(ids) {
      for (const id of ids)
        if (!unsubscribes.has(id))
          unsubscribes.set(
            id,
            live.subscribe(id, (event) => {
              if (!matters(event)) return
              hinted = true
              wake()
            }),
          )
    },
    async next(ms, signal) {
      if (!hinted) {
        const rest = pause(ms, signal)
        wake = rest.end
        await rest.over
      }
      hinted = false
    },
    [Symbol.dispose]() {
      for (const unsubscribe of unsubscribes.values()) unsubscribe()
    },
  }
}
