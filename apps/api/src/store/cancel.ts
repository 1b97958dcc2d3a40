import { isFinal, type FinalStatus, type Status } from '@errand/shared'
import type { Database } from './database.ts'
import { endsAs, insertResultsOf } from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { readExecutions } from './read-execution.ts'

export type Canceled =
  /** No agent had it: final now. */
  | { kind: 'canceled'; execution: ExecutionRow }
  /** Its agent must end it. Also when it was asked before. */
  | { kind: 'canceling'; execution: ExecutionRow; agentId: string; fence: number }
  | { kind: 'already_canceled'; execution: ExecutionRow }
  | { kind: 'final'; status: FinalStatus }
  | { kind: 'not_found' }

/** `project` null: any project. */
export async function cancel(db: Database, given: { id: string; project: string | null }): Promise<Canceled> {
  const [row] = await db.query<ExecutionRow & { was: Status }>(cancelStatement, [given.id, given.project])
  if (row === undefined) return { kind: 'not_found' }
  const { was, ...execution } = row
  if (was === 'canceled') {
    const [before] = await readExecutions(db, [given.id])
    return { kind: 'already_canceled', execution: before! }
  }
  if (isFinal(was)) return { kind: 'final', status: was }
  if (execution.status === 'canceled') return { kind: 'canceled', execution }
  return { kind: 'canceling', execution, agentId: execution.agent_id!, fence: execution.fence }
}

const cancelStatement = `
with target as materialized (
  select * from jobs where id = $1 and ($2::text is null or project = $2::text) for no key update
), ended as (
  update jobs j set ${endsAs('canceled', 'null')}
  from target t where j.id = t.id and t.status in ('waiting', 'locked', 'retrying') returning j.*
), asked as (
  update jobs j set status = 'canceling', cancel_requested_at = now()
  from target t where j.id = t.id and t.status in ('assigned', 'running') returning j.*
), result as (${insertResultsOf('ended')}), now as (
  select * from ended union all select * from asked
  union all select * from target where status not in ('waiting', 'locked', 'retrying', 'assigned', 'running')
)
select t.status as was, ${executionColumns('n', 'r')} from target t join now n on n.id = t.id left join result r on r.id = n.id`
