import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { endsAs, insertResultsOf, letGo } from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { hasStatus } from './has-status.ts'
import { storableText } from './storable-text.ts'

export interface HandedBack {
  verdict: 'stored' | 'stale'
  /** As it is now, `waiting` or `canceled`; absent when it was handed back before. */
  execution?: ExecutionRow | undefined
}

/** An agent can't take a job it was given, and has not started it. Not claimable for a second, lest it bounce. */
export async function handBack(db: Database, given: ClaimOf & { reason: string }): Promise<HandedBack> {
  const { id, fence, agentId, epoch, reason } = given
  const [row] = await db.query<ExecutionRow>(handBackStatement, [
    id,
    fence,
    agentId,
    epoch,
    storableText(reason),
  ])
  if (row !== undefined) return { verdict: 'stored', execution: row }
  return { verdict: (await wasLetGo(db, given)) ? 'stored' : 'stale' }
}

/** Whether this claim was handed back before, by this very message whose answer was lost. */
export async function wasLetGo(db: Database, { id, fence }: Pick<ClaimOf, 'id' | 'fence'>): Promise<boolean> {
  const [before] = await db.query(
    `select from jobs where id = $1 and fence = $2 and started_at is null
       and status in ('waiting', 'locked', 'canceled', 'failed')`,
    [id, fence],
  )
  return before !== undefined
}

const handBackStatement = `
with held as materialized (
  select j.id, j.status from jobs j
  where j.id = $1 and j.fence = $2 and j.agent_id = $3 and j.epoch = $4 and ${hasStatus('j', 'assigned', 'canceling')}
    and j.started_at is null
  for no key update
), returned as (
  update jobs j set status = 'waiting', waiting_reason = $5::text, not_before = now() + interval '1 second', ${letGo}
  from held where j.id = held.id and held.status = 'assigned' returning j.*
), ended as (
  update jobs j set ${endsAs('canceled', "'canceled before it started'")}
  from held where j.id = held.id and held.status = 'canceling' returning j.*
), result as (${insertResultsOf('ended')}), moved as (select * from returned union all select * from ended)
select ${executionColumns('m', 'r')} from moved m left join result r on r.id = m.id`
