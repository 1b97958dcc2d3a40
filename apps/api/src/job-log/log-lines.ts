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
  /** Where it is put, Unix milliseconds. */
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
  const jobs: StoredPart[] = [job, ...job.parts]
  const pieces = await readLog(db, {
    jobIds: jobs.map((one) => one.job.id),
    reached: offsetsOf(position),
    length: windowBytes,
  })
  const all = jobs.map((one) => linesOfJob(one, one.job.id !== job.job.id, pieces, position))
  // Nothing of a log that goes on may be overtaken.
  const unread = all.filter(({ goesOn }) => goesOn)
  const known = Math.min(...unread.map(({ lines }) => lines.at(-1)!.at))
  const lines = all.flatMap((one) => one.lines).filter(({ at }) => at <= known)
  return { lines: lines.sort(byPlace), more: unread.length > 0 }
}

/**
 * Of one job, in the order in which it happened whatever the clocks say: claims follow each other, and so do the lines
 * that each has written. Up to where `goesOn` says that a log was not read to its end.
 */
function linesOfJob(
  of: StoredPart,
  isPart: boolean,
  pieces: readonly LogPiece[],
  position: LogPosition,
): { lines: Line[]; goesOn: boolean } {
  const own = ownLines(of, { isPart }).filter(
    ({ source, told }) => ((position.get(source)?.told ?? 0) & told) === 0,
  )
  const logs = pieces.filter((piece) => piece.jobId === of.job.id)
  const fences = new Set([...own, ...logs].map(({ fence }) => fence).toSorted((one, other) => one - other))
  const lines: Line[] = []
  for (const fence of fences) {
    const log = logs.find((one) => one.fence === fence)
    const known = own.filter((one) => one.fence === fence)
    const during = [
      ...known.filter(({ ends }) => ends === null).map(toLine),
      ...(log === undefined ? [] : linesOfClaim(of, log)),
    ]
    lines.push(...during.sort(byPlace))
    if (log && isCut(log)) return { lines: inOrder(lines), goesOn: true }
    for (const end of known.filter(({ ends }) => ends !== null))
      // Nothing of its parts comes after the end of the whole.
      lines.push({ ...toLine(end), ...(end.ends === 'job' && !isPart && { at: Infinity }) })
  }
  return { lines: inOrder(lines), goesOn: false }
}

/** What an agent wrote. Of what says no time only that of the job is known. */
function linesOfClaim(of: StoredPart, { fence, offset, bytes }: LogPiece): Line[] {
  const { job } = of
  const isOver = fence !== job.fence || !(heldStatuses as readonly Status[]).includes(job.status)
  const attempt = attemptOf(of, fence)
  const lines = lineEnds(bytes, isOver).map(([start, end, next]): Line => {
    const { time = job.created_at.getTime(), level, message } = parseLine(bytes.subarray(start, end))
    const line = { time: new Date(time).toISOString(), level, message, attempt, job_id: job.id }
    return { line, at: time, source: claimSource(fence), end: offset + next }
  })
  return inOrder(lines)
}

/** Start, end and the start of the next of each line. One that is not ended is left until it is, or fills all that was read. */
function lineEnds(bytes: Uint8Array, isOver: boolean): [number, number, number][] {
  const lines: [number, number, number][] = []
  let start = 0
  for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, start)) {
    lines.push([start, end, end + 1])
    start = end + 1
  }
  const isLast = bytes.length >= windowBytes ? start === 0 : isOver && start < bytes.length
  return isLast ? [...lines, [start, bytes.length, bytes.length]] : lines
}

function isCut({ bytes }: LogPiece): boolean {
  return bytes.length >= windowBytes
}

function toLine({ at, source, told, fence: _fence, ends: _ends, ...line }: OwnLine): Line {
  return { line: { ...line, time: at.toISOString() }, at: at.getTime(), source, told }
}

function byPlace(one: Line, other: Line): number {
  return one.at - other.at
}

/** None is put before the one that it follows. */
function inOrder(lines: readonly Line[]): Line[] {
  let latest = -Infinity
  return lines.map((line) => ({ ...line, at: (latest = Math.max(latest, line.at)) }))
}
