import { isFinal } from '@errand/shared'
import type { ExecutionRow } from '../store/execution-row.ts'
import type { Live } from './live.ts'

/** Tells that a job's status has changed, as its row now is. */
export function publishChange(live: Live, execution: ExecutionRow): void {
  live.publish(execution.id, { type: isFinal(execution.status) ? 'final' : 'status', execution })
}
