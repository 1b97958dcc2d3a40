import type { ApiMessage, Held, TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface Reconciled {
  jobs: Extract<ApiMessage, { type: 'reconciled' }>['jobs']
  /** Jobs whose claim ended here: `waiting`, `retrying` or final now. */
  ended: ExecutionRow[]
}

export function reconcile(
  db: Database,
  given: {
    agentId: string
    epoch: number
    certain: boolean
    held: readonly Held[]
    time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>
  },
): Promise<Reconciled> {
  throw new Error(`to come ${String(db)} ${given.agentId}`)
}
