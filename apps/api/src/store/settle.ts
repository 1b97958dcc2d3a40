import type { TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import { endedNow, endsAs, insertResultsOf } from './end-without-result.ts'
import { executionColumns, liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'

/**
 * Works out what ends of maintenance jobs mean for others, and what the end of those others means for them. Every lock
 * is undone by this and by nothing else, from what is stored alone: so no lock outlives the crash of anything, and it
 * may be called at any time, by any replica. Resolves to the jobs whose status changed; those that are `canceling` now
 * are to be told to their agents.
 */
export async function settle(
  db: Database,
  time: Pick<TimeConstants, 'lostAfterMs' | 'preferAgentMs'>,
): Promise<ExecutionRow[]> {
  const changed: ExecutionRow[] = []
  if (!(await hasMaintenance(db))) return changed
  changed.push(...(await db.query<ExecutionRow>(abandonStatement, [time.lostAfterMs])))
  changed.push(...(await db.query<ExecutionRow>(unlockStatement, [time.preferAgentMs])))
  changed.push(...(await db.query<ExecutionRow>(composeStatement)))
  changed.push(...(await cancelUnwanted(db)))
  return changed
}

/** Mostly there is none, and one look tells. */
async function hasMaintenance(db: Database): Promise<boolean> {
  const [found] = await db.query<{ found: boolean }>(
    `select exists (select from jobs where target_agent_id is not null and outcome is null)
       or exists (select from jobs where status = 'locked') as found`,
  )
  return found!.found
}

/** Nobody else may do it, and its agent has been away for longer than any restart takes. */
const abandonStatement = `
with gone as materialized (
  select j.id, case when a.revoked_at is null then 'its agent has not come back' else 'its agent was revoked' end as error
  from jobs j join agents a on a.id = j.target_agent_id
  where j.target_agent_id is not null and j.outcome is null and j.status in ('waiting', 'retrying')
    and (a.revoked_at is not null
      or coalesce(a.lease_until, j.created_at) < clock_timestamp() - $1::float8 * interval '1 millisecond')
  for no key update of j skip locked
), ended as (
  update jobs j set ${endsAs('lost', 'gone.error')} from gone
  where j.id = gone.id and j.status in ('waiting', 'retrying') returning j.*
)
select ${liveColumns('e')} from ended e`

const what = `case l.type when 'runtime.install' then 'its dependencies were not installed: '
  else 'its image was not downloaded: ' end`
const cause = `coalesce(l.error, case l.outcome when 'canceled' then 'that was canceled'
  when 'timed_out' then 'that took too long' else l.outcome end)`

/** What waited for a job that has ended goes on, or ends with its cause. */
const unlockStatement = `
with ready as materialized (
  select j.id, l.outcome = 'succeeded' as succeeded, l.target_agent_id as agent_id, ${what} || ${cause} as error
  from jobs j join jobs l on l.id = j.locked_by
  where j.status = 'locked' and j.queue_id <> 0 and l.outcome is not null
  order by j.id for no key update of j skip locked
), freed as (
  update jobs j set status = 'waiting', locked_by = null, waiting_reason = null,
    preferred_agent_id = r.agent_id, preferred_until = now() + $1::float8 * interval '1 millisecond'
  from ready r where j.id = r.id and j.status = 'locked' and r.succeeded returning j.*
), ended as (
  update jobs j set ${endsAs('infra_error', 'r.error')}
  from ready r where j.id = r.id and j.status = 'locked' and not r.succeeded returning j.*
), result as (${insertResultsOf('ended')}), moved as (select * from freed union all select * from ended)
select ${executionColumns('m', 'r')} from moved m left join result r on r.id = m.id`

/** A job in parts waits for one that is still under way; when there is none it has ended as they have. */
const composeStatement = `
with ready as materialized (
  select j.id from jobs j join jobs l on l.id = j.locked_by
  where j.status = 'locked' and j.queue_id = 0 and l.outcome is not null
  order by j.id for no key update of j skip locked
), known as materialized (
  select r.id, (array_agg(p.id order by p.id) filter (where p.outcome is null))[1] as next,
    bool_and(p.outcome = 'succeeded') as succeeded,
    (array_agg(case when p.outcome = 'timed_out' then 'infra_error' else p.outcome end
      order by p.outcome = 'canceled', p.ended_at) filter (where p.outcome <> 'succeeded'))[1] as outcome,
    string_agg(a.name || ': ' || coalesce(p.error, p.outcome), '; ' order by a.name)
      filter (where p.outcome <> 'succeeded') as error
  from ready r join job_parts jp on jp.job_id = r.id join jobs p on p.id = jp.part_id
  join agents a on a.id = p.target_agent_id group by r.id
), passed as (
  update jobs j set locked_by = k.next from known k
  where j.id = k.id and j.status = 'locked' and k.next is not null
), ended as (
  update jobs j set locked_by = null, waiting_reason = null, ended_at = ${endedNow}, error = left(k.error, 8192),
    status = case when k.succeeded then 'completed' when k.outcome = 'canceled' then 'canceled' else 'failed' end,
    outcome = case when k.succeeded then 'succeeded' else k.outcome end
  from known k where j.id = k.id and j.status = 'locked' and k.next is null returning j.*
)
select ${liveColumns('e')} from ended e`

/**
 * A part that nobody waits for any more is canceled. Whoever is about to wait for it holds it (see `findOrMakePart`) and
 * is seen by the second statement, or comes later and finds it canceled.
 */
function cancelUnwanted(db: Database): Promise<ExecutionRow[]> {
  return db.transaction(async (tx) => {
    const parts = await tx.query<{ id: string }>(`${unwanted} for update of j skip locked`)
    if (parts.length === 0) return []
    return tx.query<ExecutionRow>(cancelStatement, [JSON.stringify(parts.map(({ id }) => id))])
  })
}

const unwanted = `
select j.id from jobs j
where j.target_agent_id is not null and j.outcome is null and j.status <> 'canceling'
  and not exists (select from jobs w where w.locked_by = j.id and w.status = 'locked')
  and not exists (select from job_parts jp join jobs w on w.id = jp.job_id where jp.part_id = j.id and w.outcome is null)`

const cancelStatement = `
with unwanted as (${unwanted} and j.id in (select id::uuid from json_array_elements_text($1::text::json) i(id))
), ended as (
  update jobs j set ${endsAs('canceled', "'nobody waits for it any more'")}
  from unwanted u where j.id = u.id and j.status in ('waiting', 'locked', 'retrying') returning j.*
), asked as (
  update jobs j set status = 'canceling', cancel_requested_at = now()
  from unwanted u where j.id = u.id and j.status in ('assigned', 'running') returning j.*
), moved as (select * from ended union all select * from asked)
select ${liveColumns('m')} from moved m`
