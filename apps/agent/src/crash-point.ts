import type { Claim } from './claim.ts'

/** Where tests let the agent die, in the order of an execution. */
export type CrashPoint =
  | 'recv_claim'
  | 'accepted'
  | 'starting'
  | 'started'
  | 'first_chunk'
  | 'mid_output'
  | 'exited'
  | 'locking'
  | 'brought'
  | 'spooled_result'
  | 'sent_result'
  | 'acked_result'

// Read once: each look into the environment costs as much as a write to the spool.
const [crashAt, crashWith] = (process.env['ERRAND_CRASH_AT'] ?? '').split('/')

/**
 * Dies here, as a power cut of the process would have it, when `ERRAND_CRASH_AT` names this point: with any job, or as
 * `POINT/ID` with that one alone.
 */
export function crashPoint(point: CrashPoint, { id }: Pick<Claim, 'id'>): void {
  if (crashAt === point && (crashWith === undefined || crashWith === id)) process.kill(process.pid, 'SIGKILL')
}
