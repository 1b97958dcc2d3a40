import type { FinalStatus } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

export type Canceled =
  /** It had not started: final now. */
  | { kind: 'canceled'; execution: ExecutionRow }
  /** Its agent must end it. Also when it was asked before. */
  | { kind: 'canceling'; execution: ExecutionRow; agentId: string; fence: number }
  | { kind: 'already_canceled'; execution: ExecutionRow }
  | { kind: 'final'; status: FinalStatus }
  | { kind: 'not_found' }

/** `project` null: any project. */
export function cancel(db: Database, given: { id: string; project: string | null }): Promise<Canceled> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}
