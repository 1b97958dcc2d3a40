import { isFinal } from '@errand/shared'
import type { ExecutionRow } from '../store/execution-row.ts'
import type { Live } from './live.ts'

/** Tells that this replica has stored a change of a job's status, as its row now is. */
export function publishChange(live: Live, execution: ExecutionRow): void {
  live.changed(execution)
  live.publish(execution.id, { type: isFinal(execution.status) ? 'final' : 'status', execution })
}
