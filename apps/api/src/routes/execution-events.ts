import { Hono } from 'hono'
import type { ExecutionEvents } from '@errand/shared'
import type { Parts } from '../app.ts'
import { type ServerSentEvent, answerEvents, heartbeatMs, resumeFrom } from '../http/answer-events.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { eventId, isAtEnd, positionOf } from '../live/event-id.ts'
import { type FollowEvent, type Position, beginning, follow } from '../live/follow.ts'
import type { ReadRow } from '../live/read-row.ts'
import type { Database } from '../store/database.ts'
import { isExecutionSeenBy, toRecord } from '../store/execution-row.ts'
import { withOutput } from '../store/read-execution.ts'
import { readOutput } from '../store/read-output.ts'
import { withWaitingReason } from '../store/waiting-reason.ts'

/**
 * `GET /executions/{id}/events` (promise 4 as it happens): `status`, `output` and at last `end`, as server-sent events.
 * Each has an id that says how far the reader is then; with it as `Last-Event-ID` any replica goes on exactly there.
 */
export function executionEventsRoute(parts: Parts, readRow: ReadRow) {
  return new Hono<AppEnv>().get('/executions/:id/events', async (c) => {
    validQuery(c, noQuery)
    const id = idParam(c)
    const from = resumeFrom(c, positionOf, beginning)
    if (!isExecutionSeenBy(await readRow(id), visibleProject(c))) throw notFound()
    // Only this keeps a browser from coming back after the last event
    if (isAtEnd(from)) return c.body(null, 204)
    return answerEvents(c, parts, (signal) => events(parts, readRow, id, from, signal))
  })
}

async function* events(
  { db, live, time }: Parts,
  readRow: ReadRow,
  id: string,
  from: Position,
  signal: AbortSignal,
): AsyncGenerator<ServerSentEvent | 'idle'> {
  const source = {
    live,
    read: () => readRow(id),
    readOutput: (fence: number, stream: 'stdout' | 'stderr', offset: number, length: number) =>
      readOutput(db, { id, fence, stream, offset, length }),
    pollEveryMs: time.pollEveryMs,
    idleMs: heartbeatMs,
  }
  for await (const [event, position] of follow(source, id, from, signal))
    yield event.type === 'idle'
      ? 'idle'
      : { event: event.type, id: eventId(position), data: await dataOf(db, id, event) }
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
