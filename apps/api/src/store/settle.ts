import type { TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import { endedNow, endsAs, insertResultsOf } from './end-without-result.ts'
import { executionColumns, liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { hasStatus } from './has-status.ts'

/** At most this many of each kind in one call: no long statement, however many wait for one job. */
const atOnce = 1_000

/**
 * Works out what ends of maintenance jobs mean for others, and what the end of those others means for them. Every lock
 * is undone by this and by nothing else, from what is stored alone: so no lock outlives the crash of anything, and it
 * may be called at any time, by any replica. Resolves to the jobs whose status changed; those that are `canceling` now
 * are to be told to their agents. What has changed may mean something for more: all is settled when nothing changes.
 */
export async function settle(
  db: Database,
  time: Pick<TimeConstants, 'preferAgentMs'>,
): Promise<ExecutionRow[]> {
  if (!(await hasMaintenance(db))) return []
  return [
    ...(await db.query<ExecutionRow>(unlockStatement, [time.preferAgentMs])),
    ...(await db.query<ExecutionRow>(composeStatement)),
    ...(await cancelUnwanted(db)),
  ]
}

/** Mostly there is none, and one look tells. */
async function hasMaintenance(db: Database): Promise<boolean> {
  const [found] = await db.query<{ found: boolean }>(
    `select exists (select from jobs where target_agent_id is not null and outcome is null)
       or exists (select from jobs where status = 'locked') as found`,
  )
  return found!.found
}

const what = `case l.type when 'runtime.install' then 'its dependencies were not installed: '
  else 'its image was not downloaded: ' end`
const cause = `coalesce(l.error, case l.outcome when 'canceled' then 'that was canceled'
  when 'timed_out' then 'that took too long' else l.outcome end)`

const isLocked = hasStatus('j', 'locked')
/** It was never begun, and its agent is gone (see `abandonParts`). */
const isAbandoned = `(l.outcome = 'lost' and l.agent_id is null)`
/** Or it waits to be begun by an agent that begins nothing. */
const isHeldUp = `(l.status in ('waiting', 'retrying', 'locked')
  and exists (select from agents a where a.id = l.target_agent_id and a.draining))`

/**
 * The jobs that others are locked by and need not be any more: the steps `lockers`, `over`. Each is looked up once in
 * the index, however many wait for it.
 */
const over = `
recursive lockers as (
  (select locked_by as id from jobs where status = 'locked' order by locked_by limit 1)
  union all
  select (select j.locked_by from jobs j where j.status = 'locked' and j.locked_by > k.id order by j.locked_by limit 1)
  from lockers k where k.id is not null
), over as materialized (
  select l.id, l.outcome, l.outcome = 'succeeded' as brought, ${isAbandoned} as abandoned, ${what} || ${cause} as error
  from lockers k join jobs l on l.id = k.id where l.outcome is not null or ${isHeldUp}
)`

/**
 * What waited for a job that has ended goes on, or ends with its cause. An execution does not wait for an agent that
 * is gone or is to take nothing more: any other may have it.
 */
const unlockStatement = `
with ${over}, ready as materialized (
  select w.id, l.brought, l.error,
    coalesce(l.brought, true) or (l.abandoned and w.type = 'code.execute') as goes_on
  from over l cross join lateral (
    select j.id, j.type from jobs j
    where j.locked_by = l.id and j.status = 'locked' and j.queue_id <> 0
      and (l.outcome is not null or j.type = 'code.execute')
    limit ${atOnce} for no key update skip locked
  ) w limit ${atOnce}
), freed as (
  update jobs j set status = 'waiting', locked_by = null, waiting_reason = null,
    preferred_agent_id = case when r.brought then j.preferred_agent_id end,
    preferred_until = case when r.brought then now() + $1::float8 * interval '1 millisecond' end
  from ready r where j.id = r.id and ${isLocked} and r.goes_on returning j.*
), ended as (
  update jobs j set ${endsAs('infra_error', 'r.error')}
  from ready r where j.id = r.id and ${isLocked} and not r.goes_on returning j.*
), result as (${insertResultsOf('ended')}), moved as (select * from freed union all select * from ended)
select ${executionColumns('m', 'r')} from moved m left join result r on r.id = m.id`

/** What a job says whose part ended so: what only programs end as is our own failure. */
const outcomeOfPart = `case when p.outcome in ('canceled', 'rejected', 'lost') then p.outcome else 'infra_error' end`

/** A job in parts waits for one that is still under way; when there is none it has ended as they have. */
const composeStatement = `
with ${over}, ready as materialized (
  select w.id from over l cross join lateral (
    select j.id from jobs j where j.locked_by = l.id and j.status = 'locked' and j.queue_id = 0 and l.outcome is not null
    limit ${atOnce} for no key update skip locked
  ) w limit ${atOnce}
), known as materialized (
  select r.id, parts.* from ready r cross join lateral (
    select (array_agg(p.id order by p.id) filter (where p.outcome is null))[1] as next,
      bool_and(p.outcome = 'succeeded') as succeeded, max(p.ended_at) as ended_at,
      (array_agg(${outcomeOfPart} order by p.outcome = 'canceled', p.ended_at)
        filter (where p.outcome <> 'succeeded'))[1] as outcome,
      string_agg(a.name || ': ' || coalesce(p.error, p.outcome), '; ' order by a.name)
        filter (where p.outcome <> 'succeeded') as error
    from job_parts jp join jobs p on p.id = jp.part_id join agents a on a.id = p.target_agent_id where jp.job_id = r.id
  ) parts
), passed as (
  update jobs j set locked_by = k.next from known k
  where j.id = k.id and ${isLocked} and k.next is not null
), ended as (
  update jobs j set locked_by = null, waiting_reason = null, ended_at = greatest(${endedNow}, k.ended_at), error = left(k.error, 8192),
    status = case when k.succeeded then 'completed' when k.outcome = 'canceled' then 'canceled' else 'failed' end,
    outcome = case when k.succeeded then 'succeeded' else k.outcome end
  from known k where j.id = k.id and ${isLocked} and k.next is null returning j.*
)
select ${liveColumns('e')} from ended e`

/**
 * A part that nobody waits for any more is canceled. Whoever is about to wait for it holds it (see `findOrMakePart`) and
 * is seen by the second statement, or comes later and finds it canceled.
 */
function cancelUnwanted(db: Database): Promise<ExecutionRow[]> {
  return db.transaction(async (tx) => {
    const parts = await tx.query<{ id: string }>(`${unwanted} limit ${atOnce} for update of j skip locked`)
    if (parts.length === 0) return []
    return tx.query<ExecutionRow>(cancelStatement, [JSON.stringify(parts.map(({ id }) => id))])
  })
}

/** Not `exists`: joined with all that is locked and all parts that ever were, while the planner's statistics are young. */
const unwanted = `
select j.id from jobs j
where j.target_agent_id is not null and j.outcome is null and j.status <> 'canceling'
  and (select w.id from jobs w where w.locked_by = j.id and w.status = 'locked' limit 1) is null
  and (select w.id from job_parts jp join jobs w on w.id = jp.job_id where jp.part_id = j.id and w.outcome is null limit 1) is null`

const cancelStatement = `
with unwanted as (${unwanted} and j.id in (select id::uuid from json_array_elements_text($1::text::json) i(id))
), ended as (
  update jobs j set ${endsAs('canceled', "'nobody waits for it any more'")}
  from unwanted u where j.id = u.id and ${hasStatus('j', 'waiting', 'locked', 'retrying')} returning j.*
), asked as (
  update jobs j set status = 'canceling', cancel_requested_at = now()
  from unwanted u where j.id = u.id and ${hasStatus('j', 'assigned', 'running')} returning j.*
), moved as (select * from ended union all select * from asked)
select ${liveColumns('m')} from moved m`
