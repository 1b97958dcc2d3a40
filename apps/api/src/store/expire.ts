import type { TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import { endLost, endsAs, insertAttemptsOf, insertResultsOf } from './end-without-result.ts'
import { executionColumns, liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { isAmongHeld } from './is-held.ts'
import { whyQueuesWait } from './waiting-reason.ts'

/** At most this many in one beat: no long transaction. The rest comes with the next. */
const atOnce = 1_000

/** What follows `lost`, with the retry window as $1 and $2. */
const lostEnded = `ended as (${endLost('lost', '$1', '$2')}), result as (${insertResultsOf('ended')}),
  attempts as (${insertAttemptsOf('ended', 'lost')})
select ${executionColumns('e', 'r')} from ended e left join result r on r.id = e.id`

/** Ends the jobs of agents whose lease has run out, and those whose agent does not answer a cancel. */
export function expireLeases(
  tx: Database,
  time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs' | 'lostAfterMs'>,
): Promise<ExecutionRow[]> {
  return tx.query(leasesStatement, [time.retryMinMs, time.retryMaxMs, time.lostAfterMs])
}

/** Ends what an agent holds that has just been revoked, all of it: nothing that it still says of them is taken. */
export function loseJobsOf(
  tx: Database,
  agentId: string,
  time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>,
): Promise<ExecutionRow[]> {
  return tx.query(revokedStatement, [time.retryMinMs, time.retryMaxMs, agentId])
}

const revokedStatement = `
with lost as materialized (
  select j.id, j.fence, j.agent_id, true as may_have_started, 'its agent was revoked' as error
  from jobs j where j.agent_id = $3 and ${isAmongHeld('j')} order by j.id for no key update
), ${lostEnded}`

/** An agent whose session is being worked on at this moment is left to the next beat: it may be renewing. */
const leasesStatement = `
with expired as materialized (
  select a.id, case when a.revoked_at is null then 'its agent did not renew its lease' else 'its agent was revoked' end as error
  from agents a where a.lease_until < clock_timestamp()
    and exists (select from jobs j where j.agent_id = a.id and ${isAmongHeld('j')})
  for no key update skip locked
), lost as materialized (
  select j.id, j.fence, j.agent_id, true as may_have_started, coalesce(x.error, 'its agent did not answer the cancel') as error
  from jobs j left join expired x on x.id = j.agent_id
  where ${isAmongHeld('j')} and (x.id is not null
    or (j.status = 'canceling' and j.cancel_requested_at < now() - $3::float8 * interval '1 millisecond'))
  order by j.id limit ${atOnce} for no key update of j
), ${lostEnded}`

/**
 * Ends maintenance jobs that wait for an agent which was revoked, or has been away for longer than any restart takes:
 * nobody else may do them.
 */
export function abandonParts(
  tx: Database,
  time: Pick<TimeConstants, 'lostAfterMs'>,
): Promise<ExecutionRow[]> {
  return tx.query(abandonStatement, [time.lostAfterMs])
}

const abandonStatement = `
with gone as materialized (
  select j.id, case when a.revoked_at is null then 'its agent has not come back' else 'its agent was revoked' end as error
  from jobs j join agents a on a.id = j.target_agent_id
  where j.target_agent_id is not null and j.outcome is null and j.status in ('waiting', 'locked', 'retrying')
    and (a.revoked_at is not null
      or coalesce(a.lease_until, j.created_at) < clock_timestamp() - $1::float8 * interval '1 millisecond')
  limit ${atOnce} for no key update of j skip locked
), ended as (
  update jobs j set ${endsAs('lost', 'gone.error')} from gone
  where j.id = gone.id and j.status in ('waiting', 'locked', 'retrying') returning j.*
)
select ${liveColumns('e')} from ended e`

/** Refuses what has waited for an agent for longer than its caller wanted, and says what it waited for. */
export async function expireWaiting(tx: Database): Promise<ExecutionRow[]> {
  const queues = await tx.query<{ queue_id: number }>(`select distinct queue_id from (${due}) d`)
  if (queues.length === 0) return []
  const reasons = await whyQueuesWait(tx, new Set(queues.map((one) => one.queue_id)))
  return tx.query(waitingStatement, [JSON.stringify(Object.fromEntries(reasons))])
}

const due = `
select id, queue_id from jobs where status in ('waiting', 'locked', 'retrying') and expires_at is not null
  and status in ('waiting', 'locked') and expires_at <= now()
order by expires_at limit ${atOnce}`

const waitingStatement = `
with due as materialized (${due} for no key update skip locked), ended as (
  update jobs j set ${endsAs(
    'rejected',
    `'waited longer than expires_in_sec' ||
      coalesce('; last: ' || coalesce(j.waiting_reason, $1::text::json->>j.queue_id::text), '')`,
  )}
  from due where j.id = due.id and j.status in ('waiting', 'locked') returning j.*
), result as (${insertResultsOf('ended')})
select ${executionColumns('e', 'r')} from ended e left join result r on r.id = e.id`

/** Makes retries claimable whose delay is over. How long they may wait for an agent counts anew. */
export function wakeRetries(tx: Database): Promise<ExecutionRow[]> {
  return tx.query(retriesStatement)
}

const retriesStatement = `
with due as materialized (
  select id from jobs where status = 'retrying' and not_before <= now()
  order by not_before limit ${atOnce} for no key update skip locked
)
update jobs j set status = 'waiting', not_before = null, expires_at = now() + j.expires_in_sec * interval '1 second'
from due where j.id = due.id and j.status = 'retrying' returning ${liveColumns('j')}`
