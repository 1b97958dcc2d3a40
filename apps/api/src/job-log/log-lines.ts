import { type JobLogLine, type Status, heldStatuses } from '@errand/shared'
import type { Database } from '../store/database.ts'
import { type LogPiece, readLog } from '../store/read-log.ts'
import type { StoredJob, StoredPart } from '../store/stored-job.ts'
import { type LogPosition, type Source, beyond, claimSource, offsetsOf } from './log-position.ts'
import { type OwnLine, attemptOf, ownLines } from './own-lines.ts'
import { parseLine } from './parse-line.ts'

/** How much of each claim's log is read at once. A line that is longer is shown in pieces. */
const windowBytes = 64 * 1024
const newline = 0x0a

/**
 * The log of a job beyond a position: what its agents wrote and what we know, of it and of all its parts, merged by time;
 * each line with the position after it. `job` must have been read before: of a claim that had ended by then all is
 * here. What comes later, however old it says it is, follows after what was told.
 */
export async function* logLines(
  db: Database,
  job: StoredJob,
  from: LogPosition,
): AsyncGenerator<[JobLogLine, LogPosition]> {
  let position = from
  for (let more = true; more;) {
    const read = await readLines(db, job, position)
    for (const { line, source, end, told } of read.lines) {
      position = beyond(position, source, { end, told })
      yield [line, position]
    }
    more = read.more
  }
}

interface Line {
  line: JobLogLine
  /** Where it is put, Unix milliseconds: within a claim's log never before what was written earlier. */
  at: number
  source: Source
  /** What its reader has then: bytes of the claim's log, or a line of ours. */
  end?: number
  told?: number
}

async function readLines(
  db: Database,
  job: StoredJob,
  position: LogPosition,
): Promise<{ lines: Line[]; more: boolean }> {
  const jobs = new Map<string, StoredPart>([job, ...job.parts].map((one) => [one.job.id, one]))
  const pieces = await readLog(db, {
    jobIds: [...jobs.keys()],
    reached: offsetsOf(position),
    length: windowBytes,
  })
  const logs = pieces.map((piece) => logOf(piece, jobs.get(piece.jobId)!))
  const ours = [...jobs.values()]
    .flatMap((one) => ownLines(one, { isPart: one.job.id !== job.job.id }))
    .filter(({ source, told }) => ((position.get(source)?.told ?? 0) & told) === 0)
    .map((own) => placed(own, logs, job))
  // Nothing of a log that goes on may be overtaken.
  const unread = logs.filter((log) => log.goesOn)
  const known = Math.min(...unread.map((log) => log.last))
  const lines = [...logs.flatMap((log) => log.lines), ...ours]
    .filter(({ at }) => at <= known)
    .sort((one, other) => one.at - other.at)
  return { lines, more: unread.length > 0 }
}

/** A part of what one claim has written. */
interface ClaimLog {
  source: Source
  lines: Line[]
  /** Where its last line was put. */
  last: number
  /** There may be more of it. */
  goesOn: boolean
}

function logOf({ fence, offset, bytes }: LogPiece, of: StoredPart): ClaimLog {
  const goesOn = bytes.length >= windowBytes
  const mayGrow = goesOn || (fence === of.job.fence && isHeld(of.job.status))
  const attempt = attemptOf(of, fence)
  const source = claimSource(fence)
  // Of what says no time only this is known.
  let last = (of.job.assigned_at ?? of.job.created_at).getTime()
  const lines = linesIn(bytes, mayGrow, goesOn).map(([start, end, next]): Line => {
    const { time = last, level, message } = parseLine(bytes.subarray(start, end))
    last = Math.max(last, time)
    const line = { time: new Date(time).toISOString(), level, message, attempt, job_id: of.job.id }
    return { line, at: last, source, end: offset + next }
  })
  return { source, lines, last, goesOn }
}

function isHeld(status: Status): boolean {
  return (heldStatuses as readonly Status[]).includes(status)
}

/** Start, end and the start of the next of each line. One that is not ended yet is left, unless it fills all that was read. */
function linesIn(bytes: Uint8Array, mayGrow: boolean, isFull: boolean): [number, number, number][] {
  const lines: [number, number, number][] = []
  let start = 0
  for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
    lines.push([start, end, end + 1])
    start = end + 1
  }
  const rest = start < bytes.length && (!mayGrow || (isFull && start === 0))
  return rest ? [...lines, [start, bytes.length, bytes.length]] : lines
}

/** The end of a claim follows what it has written, whatever the clocks say, and the end of the whole job follows all. */
function placed(
  { at, source, told, ends, ...line }: OwnLine,
  logs: readonly ClaimLog[],
  { job }: StoredJob,
): Line {
  const log = logs.find((one) => one.source === source)
  const isLast = ends && (line.job_id === job.id || log?.goesOn === true)
  const place = isLast ? Infinity : Math.max(at.getTime(), (ends && log?.last) || 0)
  return { line: { ...line, time: at.toISOString() }, at: place, source, told }
}
