import type { ApiMessage, Held, TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import {
  endLost,
  endsAs,
  insertAttemptsOf,
  insertResultsOf,
  letGo,
  poisonAfter,
  poisonError,
  storedBytes,
} from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { hasStatus } from './has-status.ts'
import { isAmongHeld, isHeld } from './is-held.ts'

export interface Reconciled {
  /** One for each that is held, in that order. */
  jobs: Extract<ApiMessage, { type: 'reconciled' }>['jobs']
  /** Jobs whose claim ended here: `waiting`, `retrying` or final now. */
  ended: ExecutionRow[]
}

/**
 * Settles what an agent held before this session: what it still holds goes on, what it never started is free again,
 * the rest is lost or retried. Touches claims of older epochs only, since those of this one are on their way to it.
 * All jobs are dropped when a newer session has taken over.
 */
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
  const { agentId, epoch, certain, time } = given
  const held = JSON.stringify(given.held)
  return db.transaction(async (tx) => {
    // No claim and no other session of this agent until this is committed.
    const [session] = await tx.query('select from agents where id = $1 and epoch = $2 for no key update', [
      agentId,
      epoch,
    ])
    const ended: ExecutionRow[] = []
    if (session !== undefined) {
      await tx.query(keepStatement, [agentId, epoch, certain, held])
      if (certain) {
        ended.push(...(await tx.query<ExecutionRow>(diedStatement, [agentId, epoch, held])))
        ended.push(...(await tx.query<ExecutionRow>(freeStatement, [agentId, epoch])))
      }
      ended.push(
        ...(await tx.query<ExecutionRow>(loseStatement, [
          agentId,
          epoch,
          certain,
          time.retryMinMs,
          time.retryMaxMs,
        ])),
      )
      await tx.query('update agents set certain = true where id = $1', [agentId])
    }
    const rows = await tx.query<VerdictRow>(verdictStatement, [agentId, epoch, held])
    return { jobs: rows.map(toVerdict), ended }
  })
}

interface VerdictRow {
  id: string
  fence: number
  status: string | null
  stdout: number
  stderr: number
}

function toVerdict({ id, fence, status, stdout, stderr }: VerdictRow): Reconciled['jobs'][number] {
  const verdict = status === null ? 'drop' : 'keep'
  return { id, fence, verdict, cancel: status === 'canceling', offsets: { stdout, stderr } }
}

const agentDied = `'its agent died before it had started it'`

const input = (held: string) =>
  `(select id, fence, state, agent_died is not null as agent_died
    from json_to_recordset(${held}::text::json) as h(id uuid, fence bigint, state text, agent_died boolean))`

/**
 * After a boot or with a new spool only a result is believed: what the spool says of starts may be older than what
 * was started.
 */
const keepStatement = `
update jobs j set epoch = $2 from ${input('$4')} h
where j.id = h.id and j.fence = h.fence and j.agent_id = $1 and j.epoch < $2
  and ${isHeld('j')} and ($3::boolean or h.state = 'ended') and not h.agent_died`

/**
 * It never started, so that is no attempt; but where its agents die each time that they have it, it is what they die of.
 * A claim that never arrived is not among these: it may come to nothing because of the link, or the API's own death.
 */
const diedStatement = `
with died as materialized (
  select j.id, j.lost_claims + 1 as lost_claims from ${input('$3')} h join jobs j on j.id = h.id and j.fence = h.fence
  where j.agent_id = $1 and j.epoch < $2 and ${hasStatus('j', 'assigned')} and h.agent_died
  order by j.id for no key update of j
), freed as (
  update jobs j set status = 'waiting', waiting_reason = ${agentDied}, lost_claims = died.lost_claims, ${letGo}
  from died where j.id = died.id and died.lost_claims < ${poisonAfter} returning j.*
), ended as (
  update jobs j set ${endsAs('infra_error', poisonError(agentDied))}, lost_claims = died.lost_claims
  from died where j.id = died.id and died.lost_claims >= ${poisonAfter} returning j.*
), result as (${insertResultsOf('ended')}), moved as (select * from freed union all select * from ended)
select ${executionColumns('m', 'r')} from moved m left join result r on r.id = m.id`

const freeStatement = `
with freed as (
  update jobs j set status = 'waiting', waiting_reason = 'its agent reconnected and had not received it', ${letGo}
  where j.agent_id = $1 and j.epoch < $2 and j.status = 'assigned'
  returning j.*
)
select ${executionColumns('f', 'r')} from freed f left join code_execution_results r on false`

const loseStatement = `
with lost as materialized (
  select id, fence, agent_id, not $3::boolean or started_at is not null as may_have_started,
    case when $3::boolean then 'its agent reconnected and holds it no more'
      else 'its agent was started anew or its host was, and what ran there is gone' end as error
  from jobs where agent_id = $1 and epoch < $2 and ${isAmongHeld('jobs')}
  order by id for no key update
), ended as (${endLost('lost', '$4', '$5')}), result as (${insertResultsOf('ended')}),
  attempts as (${insertAttemptsOf('ended', 'lost')})
select ${executionColumns('e', 'r')} from ended e left join result r on r.id = e.id`

const verdictStatement = `
select h.id, h.fence, j.status, s.stdout, s.stderr
from json_array_elements($3::text::json) with ordinality one(value, n)
cross join lateral (select (one.value->>'id')::uuid as id, (one.value->>'fence')::bigint as fence) h
left join jobs j on j.id = h.id and j.fence = h.fence and j.agent_id = $1 and j.epoch = $2
  and ${isHeld('j')}
cross join lateral (${storedBytes('h.id', 'h.fence')}) s
order by one.n`
