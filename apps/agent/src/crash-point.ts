/** Where tests let the agent die, in the order of an execution. */
export type CrashPoint =
  | 'recv_claim'
  | 'accepted'
  | 'starting'
  | 'started'
  | 'first_chunk'
  | 'exited'
  | 'spooled_result'
  | 'sent_result'
  | 'acked_result'

/** Dies here, as a power cut of the process would have it, when `ERRAND_CRASH_AT` names this point. */
export function crashPoint(point: CrashPoint): void {
  if (process.env['ERRAND_CRASH_AT'] === point) process.kill(process.pid, 'SIGKILL')
}
