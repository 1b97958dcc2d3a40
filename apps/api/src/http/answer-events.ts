import type { Context } from 'hono'
import type { Parts } from '../app.ts'
import { Unavailable } from '../store/database.ts'
import { eventStream } from './event-stream.ts'
import { Problem } from './problem.ts'

/** Proxies close what is silent; a comment now and then keeps it open. Milliseconds. */
export const heartbeatMs = 15_000
/** How long a browser waits before it connects again. */
const reconnectMs = 1_000

/** One server-sent event; with its `id` as `Last-Event-ID` a reader goes on exactly after it. */
export interface ServerSentEvent {
  event: string
  id: string
  /** To be sent as JSON. */
  data: unknown
}

/**
 * Answers with events as they come; `idle` is told as a heartbeat. `make` is given a signal that is aborted when the
 * reader leaves and when this replica goes down.
 */
export function answerEvents(
  c: Context,
  { closing, log }: Pick<Parts, 'closing' | 'log'>,
  make: (signal: AbortSignal) => AsyncIterable<ServerSentEvent | 'idle'>,
): Response {
  const headers = { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' }
  if (c.req.method === 'HEAD') return c.newResponse(null, 200, headers)
  const aborter = new AbortController()
  const stop = () => {
    closing.removeEventListener('abort', stop)
    aborter.abort()
  }
  closing.addEventListener('abort', stop)
  // It is asked as long as balancers have not seen that it goes down: its readers go on elsewhere.
  if (closing.aborted) stop()
  return c.newResponse(eventStream(chunksOf(make(aborter.signal), log, c.req.path), stop), 200, headers)
}

async function* chunksOf(
  events: AsyncIterable<ServerSentEvent | 'idle'>,
  log: Parts['log'],
  path: string,
): AsyncGenerator<string> {
  try {
    yield `retry: ${reconnectMs}\n\n`
    for await (const one of events)
      yield one === 'idle'
        ? ':\n\n'
        : `event: ${one.event}\nid: ${one.id}\ndata: ${JSON.stringify(one.data)}\n\n`
  } catch (error) {
    // The stream just ends: its reader comes back and goes on where it was
    if (!(error instanceof Unavailable)) log.error({ path, err: error }, 'an event stream failed')
  }
}

/** Where a reader wants to go on, by the id of the last event it has; `beginning` without one. */
export function resumeFrom<Position>(
  c: Context,
  positionOf: (id: string) => Position | undefined,
  beginning: Position,
): Position {
  const id = c.req.header('last-event-id')
  const position = id ? positionOf(id) : beginning
  if (position !== undefined) return position
  const pointer = 'header Last-Event-ID'
  throw new Problem('bad_request', `${pointer} must be an id of these events.`, {
    errors: [{ pointer, detail: 'must be an id of these events' }],
  })
}
