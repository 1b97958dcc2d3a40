import { accepts } from 'hono/accepts'
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { type JobEvents, type JobLogLine, isFinal } from '@errand/shared'
import type { Parts } from '../app.ts'
import { type ServerSentEvent, answerEvents, heartbeatMs, resumeFrom } from '../http/answer-events.ts'
import type { AppEnv } from '../http/app-env.ts'
import { limitParam, nextLink } from '../http/page-params.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { visibleProject } from '../http/require-role.ts'
import { validQuery } from '../http/validate.ts'
import { logLines } from '../job-log/log-lines.ts'
import { type LogPosition, positionOfText, positionText } from '../job-log/log-position.ts'
import {
  type JobFollowEvent,
  type JobPosition,
  followJob,
  jobBeginning,
  jobEventId,
  jobPositionOf,
} from '../live/follow-job.ts'
import type { Database } from '../store/database.ts'
import { explained, readJob } from '../store/read-job.ts'
import { type StoredJob, toJob } from '../store/stored-job.ts'

const cursor = z
  .string()
  .min(1)
  .transform((text, context): LogPosition => {
    const position = positionOfText(text)
    if (position !== undefined) return position
    context.addIssue({ code: 'custom', message: 'must be a next_cursor of this log' })
    return z.NEVER
  })
  .optional()

const pageQuery = z.strictObject({ limit: limitParam, cursor })
const streamQuery = z.strictObject({ cursor })

/**
 * `GET /jobs/{id}/logs`: the log of a job and its parts, oldest first, in pages or as server-sent events. While the job is
 * not final there is always a `next_cursor`, with which that begins which is to come.
 */
export function jobLogsRoute(parts: Parts) {
  const { db } = parts
  return new Hono<AppEnv>().get('/jobs/:id/logs', async (c) => {
    c.header('vary', 'accept')
    const types = ['application/json', 'text/event-stream']
    const wanted = accepts(c, { header: 'Accept', supports: types, default: types[0]! })
    return wanted === types[0] ? answerPage(c) : answerStream(c)
  })

  async function answerPage(c: Context<AppEnv>): Promise<Response> {
    const query = validQuery(c, pageQuery)
    const job = await seenJob(c)
    const data: JobLogLine[] = []
    let position = query.cursor ?? new Map()
    let more = !isFinal(job.job.status)
    for await (const [line, after] of logLines(db, job, position)) {
      more ||= data.length === query.limit
      if (data.length === query.limit) break
      data.push(line)
      position = after
    }
    const next_cursor = more ? positionText(position) : null
    if (next_cursor !== null) c.header('link', nextLink(c, next_cursor))
    // All that there is so far
    if (more && data.length < query.limit) c.header('retry-after', '1')
    return c.json({ data, next_cursor })
  }

  async function answerStream(c: Context<AppEnv>): Promise<Response> {
    const { cursor: log } = validQuery(c, streamQuery)
    const from = resumeFrom(c, jobPositionOf, { ...jobBeginning, ...(log && { log }) })
    const { job } = await seenJob(c)
    // Only this keeps a browser from coming back after the last event
    if (from.status !== null && isFinal(from.status)) return c.body(null, 204)
    return answerEvents(c, parts, (signal) => events(parts, job.id, from, signal))
  }

  async function seenJob(c: Context<AppEnv>): Promise<StoredJob> {
    const job = await readJob(db, { id: idParam(c), project: visibleProject(c) })
    if (job === undefined) throw notFound()
    return job
  }
}

async function* events(
  { db, live, time }: Parts,
  id: string,
  from: JobPosition,
  signal: AbortSignal,
): AsyncGenerator<ServerSentEvent | 'idle'> {
  const source = {
    live,
    read: () => readJob(db, { id, project: null }),
    readLog: (job: StoredJob, position: LogPosition) => logLines(db, job, position),
    pollEveryMs: time.pollEveryMs,
    idleMs: heartbeatMs,
  }
  for await (const [event, position] of followJob(source, id, from, signal))
    yield event.type === 'idle'
      ? 'idle'
      : { event: event.type, id: jobEventId(position), data: await dataOf(db, event) }
}

/** The data of an event, by its name. */
async function dataOf(
  db: Database,
  event: Exclude<JobFollowEvent, { type: 'idle' }>,
): Promise<JobEvents[keyof JobEvents]> {
  if (event.type === 'log') return event.line
  if (event.type === 'progress') return event.progress
  const [known] = await explained(db, [event.job])
  const job = toJob(known!)
  if (event.type === 'end') return job
  const { id, status, attempt, waiting_reason, locked_by, error } = job
  return { id, status, attempt, waiting_reason, locked_by, error }
}
