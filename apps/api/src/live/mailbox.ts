import type { Live, LiveEvent } from './live.ts'
import { pause } from './pause.ts'

/** What may wait here for a reader; a slower one goes on from the store. */
const mostBytes = 256 * 1024
const mostEvents = 256

export interface Mailbox extends Disposable {
  /** The next event, at once when one waits; undefined after `ms`, an abort, or when events had to be let go. */
  next(ms: number, signal: AbortSignal): Promise<LiveEvent | undefined>
}

/**
 * Keeps the events of one execution until they are read. Never more than 256 KiB: when its reader is too slow, all
 * are let go, for the store has them. So a slow reader costs neither heap nor the speed of those who publish.
 */
export function openMailbox(live: Live, id: string): Mailbox {
  let events: LiveEvent[] = []
  let bytes = 0
  let overflowed = false
  let wake = () => {}
  const unsubscribe = live.subscribe(id, (event) => {
    // One look at the store is for all that other replicas have told until then.
    if (event.type === 'elsewhere' && events.at(-1)?.type === 'elsewhere') return
    events.push(event)
    if (event.type === 'output') bytes += event.bytes.length
    if (bytes > mostBytes || events.length > mostEvents) {
      events = []
      bytes = 0
      overflowed = true
    }
    wake()
  })
  return {
    async next(ms, signal) {
      if (events.length === 0 && !overflowed) {
        const rest = pause(ms, signal)
        wake = rest.end
        await rest.over
      }
      overflowed = false
      const event = events.shift()
      if (event?.type === 'output') bytes -= event.bytes.length
      return event
    },
    [Symbol.dispose]: unsubscribe,
  }
}
