import { isFinal, type FinalStatus, type JobType, type Status } from '@errand/shared'
import type { Database } from './database.ts'
import { endsAs, insertResultsOf } from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { readExecutions } from './read-execution.ts'

export type Canceled =
  /** No agent had it: final now. `was`: its status before. */
  | { kind: 'canceled'; execution: ExecutionRow; was: Status }
  /** Its agent must end it. Also when it was asked before. */
  | { kind: 'canceling'; execution: ExecutionRow; agentId: string; fence: number }
  | { kind: 'already_canceled'; execution: ExecutionRow }
  | { kind: 'final'; status: FinalStatus }
  /** It may be seen, and is not this project's to cancel. */
  | { kind: 'forbidden' }
  | { kind: 'not_found' }

/**
 * `project` null: any project. Jobs that are no executions are seen by all projects and canceled by their own, unless
 * others wait for them, too. With `type` only a job of that type is found.
 */
export async function cancel(
  db: Database,
  given: { id: string; project: string | null; type?: JobType | undefined },
): Promise<Canceled> {
  const { id, project, type } = given
  const [row] = await db.query<ExecutionRow & { was: Status; may: boolean }>(cancelStatement, [
    id,
    project,
    type ?? null,
  ])
  if (row === undefined) return { kind: 'not_found' }
  const { was, may, ...execution } = row
  if (was === 'canceled') {
    const [before] = await readExecutions(db, [id])
    return { kind: 'already_canceled', execution: before! }
  }
  if (isFinal(was)) return { kind: 'final', status: was }
  if (!may) return { kind: 'forbidden' }
  if (execution.status === 'canceled') return { kind: 'canceled', execution, was }
  return { kind: 'canceling', execution, agentId: execution.agent_id!, fence: execution.fence }
}

/** A part belongs to every job above it and to whom it locks: one project may not end it for others. */
const may = `($2::text is null or (j.project = $2::text
  and not exists (select from job_parts p join jobs o on o.id = p.job_id
    where p.part_id = j.id and o.outcome is null and o.project <> j.project)
  and not exists (select from jobs o where o.status = 'locked' and o.locked_by = j.id and o.project <> j.project)))`

const cancelStatement = `
with target as materialized (
  select * from jobs where id = $1 and ($3::text is null or type = $3::text)
    and ($2::text is null or project = $2::text or type <> 'code.execute') for no key update
), allowed as materialized (
  select j.id, ${may} as may from target j
), ended as (
  update jobs j set ${endsAs('canceled', 'null')}
  from target t join allowed a using (id)
  where j.id = t.id and a.may and t.status in ('waiting', 'locked', 'retrying') returning j.*
), asked as (
  update jobs j set status = 'canceling', cancel_requested_at = now()
  from target t join allowed a using (id)
  where j.id = t.id and a.may and t.status in ('assigned', 'running') returning j.*
), result as (${insertResultsOf('ended')}), now as (
  select * from ended union all select * from asked
  union all select t.* from target t join allowed a using (id)
  where not a.may or t.status not in ('waiting', 'locked', 'retrying', 'assigned', 'running')
)
select t.status as was, a.may, ${executionColumns('n', 'r')}
from target t join allowed a using (id) join now n on n.id = t.id left join result r on r.id = n.id`
