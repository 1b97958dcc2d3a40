import { crashPoint as crashAt } from '@errand/host/crash-point'
import type { Claim } from './claim.ts'

/** Where tests let the agent die, in the order of an execution. */
export type CrashPoint =
  | 'recv_claim'
  | 'accepted'
  | 'starting'
  | 'created'
  | 'started'
  | 'first_chunk'
  | 'mid_output'
  | 'exited'
  | 'locking'
  | 'brought'
  | 'spooled_result'
  | 'sent_result'
  | 'acked_result'
  | 'removing'
  | 'removed'

/** Dies here, when `ERRAND_CRASH_AT` names this point, alone or with this job. */
export function crashPoint(point: CrashPoint, { id }: Pick<Claim, 'id'>): void {
  crashAt(point, id)
}
