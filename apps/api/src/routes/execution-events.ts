import { Hono } from 'hono'
import type { ExecutionEvents } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { eventStream } from '../http/event-stream.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { eventId, isAtEnd, positionOf } from '../live/event-id.ts'
import { type FollowEvent, type Position, beginning, follow } from '../live/follow.ts'
import type { ReadRow } from '../live/read-row.ts'
import { type Database, Unavailable } from '../store/database.ts'
import { toRecord } from '../store/execution-row.ts'
import { withOutput } from '../store/read-execution.ts'
import { readOutput } from '../store/read-output.ts'
import { withWaitingReason } from '../store/waiting-reason.ts'

/** Proxies close what is silent; a comment now and then keeps it open. Milliseconds. */
const heartbeatMs = 15_000
/** How long a browser waits before it connects again. */
const reconnectMs = 1_000

/**
 * `GET /executions/{id}/events` (promise 4 as it happens): `status`, `output` and at last `end`, as server-sent events.
 * Each has an id that says how far the reader is then; with it as `Last-Event-ID` any replica goes on exactly there.
 */
export function executionEventsRoute(parts: Parts, readRow: ReadRow) {
  return new Hono<AppEnv>().get('/executions/:id/events', async (c) => {
    validQuery(c, noQuery)
    const id = idParam(c)
    const from = resumeFrom(c.req.header('last-event-id'))
    const execution = await readRow(id)
    const project = visibleProject(c)
    if (execution === undefined || (project !== null && execution.project !== project)) throw notFound()
    // Only this keeps a browser from coming back after the last event
    if (isAtEnd(from)) return c.body(null, 204)

    const aborter = new AbortController()
    const stop = () => {
      parts.closing.removeEventListener('abort', stop)
      aborter.abort()
    }
    parts.closing.addEventListener('abort', stop)
    const body =
      c.req.method === 'HEAD' ? null : eventStream(events(parts, readRow, id, from, aborter.signal), stop)
    return c.newResponse(body, 200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' })
  })
}

function resumeFrom(lastEventId: string | undefined): Position {
  const position = lastEventId ? positionOf(lastEventId) : beginning
  if (position !== undefined) return position
  const pointer = 'header Last-Event-ID'
  throw new Problem('bad_request', `${pointer} must be an id of these events.`, {
    errors: [{ pointer, detail: 'must be an id of these events' }],
  })
}

async function* events(
  { db, live, log, time }: Parts,
  readRow: ReadRow,
  id: string,
  from: Position,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const source = {
    live,
    read: () => readRow(id),
    readOutput: (fence: number, stream: 'stdout' | 'stderr', offset: number, length: number) =>
      readOutput(db, { id, fence, stream, offset, length }),
    pollEveryMs: time.pollEveryMs,
    idleMs: heartbeatMs,
  }
  try {
    yield `retry: ${reconnectMs}\n\n`
    for await (const [event, position] of follow(source, id, from, signal)) {
      if (event.type === 'idle') yield ':\n\n'
      else {
        const data = JSON.stringify(await dataOf(db, id, event))
        yield `event: ${event.type}\nid: ${eventId(position)}\ndata: ${data}\n\n`
      }
    }
  } catch (error) {
    // The stream just ends: its reader comes back and goes on where it was
    if (!(error instanceof Unavailable)) log.error({ execution_id: id, err: error }, 'an event stream failed')
  }
}

/** The data of an event, by its name. */
async function dataOf(
  db: Database,
  id: string,
  event: Exclude<FollowEvent, { type: 'idle' }>,
): Promise<ExecutionEvents[keyof ExecutionEvents]> {
  if (event.type === 'end') return toRecord(await withOutput(db, event.execution))
  if (event.type === 'status') {
    const { status, attempt, waiting_reason } = await withWaitingReason(db, event.execution)
    return { id, status, attempt, waiting_reason }
  }
  const { stream, attempt, offset, bytes } = event
  return { stream, attempt, offset, base64: bytes.toBase64() }
}
