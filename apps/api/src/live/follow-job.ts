import { type JobLogLine, type JobProgress, type Status, isFinal, status } from '@errand/shared'
import { type LogPosition, positionOfText, positionText } from '../job-log/log-position.ts'
import { type StoredJob, toJobSummary } from '../store/stored-job.ts'
import { openHints } from './hints.ts'
import type { Live } from './live.ts'
import { pause } from './pause.ts'

/** How far a follower is: enough to go on exactly there, on any replica. */
export interface JobPosition {
  log: LogPosition
  /** The last status told, and in which attempt. */
  status: Status | null
  attempt: number
  /** What else of it was told. Not part of what a resumed follower knows: told again then. */
  detail: string
}

export const jobBeginning: JobPosition = {
  log: new Map(),
  status: null,
  attempt: 0,
  detail: '[null,null,null]',
}

export type JobFollowEvent =
  | { type: 'log'; line: JobLogLine }
  | { type: 'status'; job: StoredJob }
  | { type: 'progress'; progress: JobProgress }
  | { type: 'end'; job: StoredJob }
  /** Nothing happened for a while. */
  | { type: 'idle' }

export interface FollowJobParts {
  live: Live
  read(): Promise<StoredJob | undefined>
  /** The log beyond a position, each line with the position after it. */
  readLog(job: StoredJob, from: LogPosition): AsyncIterable<[JobLogLine, LogPosition]>
  pollEveryMs: number
  /** Say so after this long without an event. */
  idleMs: number
}

/** Hints may come by the hundred, from every part: one look for all that come within this. Milliseconds. */
const gatherMs = 50

/**
 * Tells what happens to a job and its parts from `from` on, each event with the position after it, until its end or an
 * abort. It listens first and then reads the store, again after each hint and with every poll: so nothing is lost or
 * told twice, whether hints come late, twice or never.
 */
export async function* followJob(
  parts: FollowJobParts,
  id: string,
  from: JobPosition,
  signal: AbortSignal,
): AsyncGenerator<[JobFollowEvent, JobPosition]> {
  // What a program writes is no line of its log.
  let isExecution = false
  using hints = openHints(
    parts.live,
    (event) => (event.type === 'elsewhere' ? event.event : event.type) !== 'output' || !isExecution,
  )
  hints.watch([id])
  let position = from
  let progress = 'null'
  let toldAt = performance.now()
  while (!signal.aborted) {
    const job = await parts.read()
    if (job === undefined) return
    isExecution = job.job.type === 'code.execute'
    hints.watch(job.parts.map((part) => part.job.id))
    for await (const step of news(job)) {
      position = step[1]
      yield step
      toldAt = performance.now()
    }
    if (isFinal(job.job.status)) return
    await hints.next(parts.pollEveryMs, signal)
    await pause(gatherMs, signal).over
    if (performance.now() - toldAt < parts.idleMs) continue
    yield [{ type: 'idle' }, position]
    toldAt = performance.now()
  }

  async function* news(job: StoredJob): AsyncGenerator<[JobFollowEvent, JobPosition]> {
    const ended = isFinal(job.job.status)
    const told = { status: job.job.status, attempt: job.job.attempt, detail: detailOf(job) }
    if (!ended && isNews(told, position))
      yield [
        { type: 'status', job },
        { ...position, ...told },
      ]
    for await (const [line, log] of parts.readLog(job, position.log))
      yield [
        { type: 'log', line },
        { ...position, log },
      ]
    const now = toJobSummary(job).progress
    if (!ended && now !== null && JSON.stringify(now) !== progress) {
      progress = JSON.stringify(now)
      yield [{ type: 'progress', progress: now }, position]
    }
    if (ended)
      yield [
        { type: 'end', job },
        { ...position, ...told },
      ]
  }
}

function isNews(job: Omit<JobPosition, 'log'>, told: JobPosition): boolean {
  return job.status !== told.status || job.attempt !== told.attempt || job.detail !== told.detail
}

function detailOf({ job }: StoredJob): string {
  return JSON.stringify([job.waiting_reason, job.locked_by, job.error])
}

/** A position as the `id` of a server-sent event: `status-attempt-log`. */
export function jobEventId(position: JobPosition): string {
  return `${position.status ?? 'none'}-${position.attempt}-${positionText(position.log)}`
}

/** The position that a `Last-Event-ID` names, or undefined when it is none of ours. */
export function jobPositionOf(id: string): JobPosition | undefined {
  const [, told, attempt, text] = /^([a-z]+)-(\d{1,6})-(.*)$/.exec(id) ?? []
  const log = text === undefined ? undefined : positionOfText(text)
  const known = status.safeParse(told)
  if (log === undefined || (!known.success && told !== 'none')) return undefined
  return { ...jobBeginning, log, status: known.data ?? null, attempt: Number(attempt) }
}
