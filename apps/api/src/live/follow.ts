import { type Status, type Stream, isFinal } from '@errand/shared'
import type { ExecutionRow } from '../store/execution-row.ts'
import type { Live, LiveEvent } from './live.ts'
import { openMailbox } from './mailbox.ts'

/** How far a follower is: enough to go on exactly there, on any replica. */
export interface Position {
  /** The claim whose output the offsets are of; another one begins at 0 with a higher `attempt`. */
  fence: number
  attempt: number
  stdout: number
  stderr: number
  /** The last status told, and in which attempt. */
  status: Status | null
  statusAttempt: number
  /** Not part of what a resumed follower knows: told again then. */
  waitingReason: string | null
}

export const beginning: Position = {
  fence: 0,
  attempt: 0,
  stdout: 0,
  stderr: 0,
  status: null,
  statusAttempt: 0,
  waitingReason: null,
}

export type FollowEvent =
  | { type: 'status'; execution: ExecutionRow }
  | { type: 'output'; attempt: number; stream: Stream; offset: number; bytes: Uint8Array }
  | { type: 'end'; execution: ExecutionRow }
  /** Nothing happened for a while. */
  | { type: 'idle' }

export interface FollowParts {
  live: Live
  read(): Promise<ExecutionRow | undefined>
  /** At most `length` bytes of that claim's output from `offset` on; none when there are no more. */
  readOutput(fence: number, stream: Stream, offset: number, length: number): Promise<Uint8Array>
  pollEveryMs: number
  /** Say so after this long without an event. */
  idleMs: number
}

/** One read of output, and one event of it. */
const chunkBytes = 64 * 1024

/**
 * Tells what happens to an execution from `from` on, each event with the position after it, until its end or an
 * abort. It subscribes first, then reads the store, then takes what was published meanwhile: published output counts
 * where it continues exactly, everything else is a hint to read the store again. So nothing is lost, told twice or
 * kept for a slow reader, whether it is published late, twice or never.
 */
export async function* follow(
  parts: FollowParts,
  id: string,
  from: Position,
  signal: AbortSignal,
): AsyncGenerator<[FollowEvent, Position]> {
  using mailbox = openMailbox(parts.live, id)
  let position = from
  let final: ExecutionRow | undefined
  let toldAt = performance.now()
  while (!signal.aborted) {
    const execution = final ?? (await parts.read())
    if (execution === undefined) return
    for await (const step of stored(parts, execution, position)) {
      position = step[1]
      yield step
      toldAt = performance.now()
    }
    if (isFinal(execution.status)) return

    while (!signal.aborted) {
      const event = await mailbox.next(parts.pollEveryMs, signal)
      if (event?.type === 'final') final = event.execution
      const next = event?.type === 'output' ? continued(event, position) : 'unknown'
      if (next === 'unknown') break
      if (next === 'told') continue
      position = next[1]
      yield next
      toldAt = performance.now()
    }

    if (performance.now() - toldAt < parts.idleMs) continue
    yield [{ type: 'idle' }, position]
    toldAt = performance.now()
  }
}

/** What the store has beyond a position. */
async function* stored(
  parts: FollowParts,
  execution: ExecutionRow,
  from: Position,
): AsyncGenerator<[FollowEvent, Position]> {
  let position = from
  const { status, waiting_reason } = execution
  if (!isFinal(status) && isNews(execution, position)) {
    position = { ...position, status, statusAttempt: execution.attempt, waitingReason: waiting_reason }
    yield [{ type: 'status', execution }, position]
  }
  if (execution.fence > position.fence)
    position = {
      ...position,
      fence: execution.fence,
      attempt: runningAttempt(execution),
      stdout: 0,
      stderr: 0,
    }
  for (const stream of ['stdout', 'stderr'] as const)
    for (let whole = position.fence > 0; whole;) {
      const offset = position[stream]
      const bytes = await parts.readOutput(position.fence, stream, offset, chunkBytes)
      whole = bytes.length === chunkBytes
      if (bytes.length === 0) break
      position = { ...position, [stream]: offset + bytes.length }
      yield [{ type: 'output', attempt: position.attempt, stream, offset, bytes }, position]
    }
  if (isFinal(status))
    yield [
      { type: 'end', execution },
      { ...position, status },
    ]
}

function isNews(execution: ExecutionRow, told: Position): boolean {
  return (
    execution.status !== told.status ||
    execution.attempt !== told.statusAttempt ||
    execution.waiting_reason !== told.waitingReason
  )
}

/** The attempt that a claim's output belongs to: its start may not be stored yet. */
function runningAttempt({ status, attempt }: ExecutionRow): number {
  return status === 'assigned' ? attempt + 1 : Math.max(attempt, 1)
}

/** Published output as it goes on from a position: `told` when that has it, `unknown` when only the store can say. */
function continued(
  event: LiveEvent & { type: 'output' },
  position: Position,
): [FollowEvent, Position] | 'told' | 'unknown' {
  const { fence, stream } = event
  const offset = position[stream]
  const end = event.offset + event.bytes.length
  if (fence < position.fence || (fence === position.fence && end <= offset)) return 'told'
  if (fence > position.fence || event.offset > offset) return 'unknown'
  const bytes = event.bytes.subarray(offset - event.offset)
  return [
    { type: 'output', attempt: position.attempt, stream, offset, bytes },
    { ...position, [stream]: end },
  ]
}
