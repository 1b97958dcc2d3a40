import { isFinal, status } from '@errand/shared'
import { type Position, beginning } from './follow.ts'

/** A position as the `id` of a server-sent event: `fence-attempt-stdout-stderr-status-attempt`. */
export function eventId(position: Position): string {
  const { fence, attempt, stdout, stderr, status, statusAttempt } = position
  return [fence, attempt, stdout, stderr, status ?? 'none', statusAttempt].join('-')
}

/** The position that a `Last-Event-ID` names, or undefined when it is none of ours. No stream has 10^8 bytes. */
export function positionOf(id: string): Position | undefined {
  const parts = /^(\d{1,15})-(\d{1,6})-(\d{1,8})-(\d{1,8})-([a-z]+)-(\d{1,6})$/.exec(id)
  if (parts === null) return undefined
  const [fence, attempt, stdout, stderr, , statusAttempt] = parts.slice(1).map(Number)
  const told = status.safeParse(parts[5])
  if (!told.success && parts[5] !== 'none') return undefined
  return {
    ...beginning,
    fence: fence!,
    attempt: attempt!,
    stdout: stdout!,
    stderr: stderr!,
    status: told.data ?? null,
    statusAttempt: statusAttempt!,
  }
}

/** Whether the end was told already: a browser connects again after the last event, until it is answered 204. */
export function isAtEnd(position: Position): boolean {
  return position.status !== null && isFinal(position.status)
}
