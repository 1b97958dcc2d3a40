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
const crashAt = process.env['ERRAND_CRASH_AT']

/** Dies here, as a power cut of the process would have it, when `ERRAND_CRASH_AT` names this point. */
export function crashPoint(point: CrashPoint): void {
  if (crashAt === point) process.kill(process.pid, 'SIGKILL')
}
