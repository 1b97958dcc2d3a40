import type { Database } from './database.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import type { EndedAttempt, StoredJob, StoredPart } from './stored-job.ts'
import { withWaitingReasons } from './waiting-reason.ts'

/** A job of any type. `project`: whose executions are seen; null: those of all projects. */
export async function readJob(
  db: Database,
  given: { id: string; project: string | null },
): Promise<StoredJob | undefined> {
  const [stored] = await readJobs(db, [given.id])
  const { type, project } = stored?.job ?? {}
  return type === 'code.execute' && given.project !== null && project !== given.project ? undefined : stored
}

/** Many at once, in their order; those that are not there are left out. */
export async function readJobs(db: Database, ids: readonly string[]): Promise<StoredJob[]> {
  const rows = await db.query<Row>(readStatement, [JSON.stringify(ids)])
  const stored = new Map<string, StoredJob & { parts: StoredPart[] }>()
  for (const row of rows) if (row.above === null) stored.set(row.id, { ...toStored(row), parts: [] })
  for (const row of rows) if (row.above !== null) stored.get(row.above)?.parts.push(toStored(row))
  return ids.flatMap((id) => stored.get(id) ?? [])
}

/** The same with `waiting_reason` in words, where nobody has said why they wait: what is known now. */
export async function explained(db: Database, jobs: readonly StoredJob[]): Promise<StoredJob[]> {
  const rows = await withWaitingReasons(
    db,
    jobs.map(({ job }) => job),
  )
  return jobs.map((one, n) => ({ ...one, job: rows[n]! }))
}

type Row = ExecutionRow &
  Pick<StoredPart, 'params' | 'progress' | 'result'> & {
    /** The job that it is a part of; null for those that were asked for. */
    above: string | null
    its_agent: StoredPart['agent']
    attempts: (Omit<EndedAttempt, 'ended_at'> & { ended_at: string })[]
  }

function toStored({ above: _above, its_agent, attempts, params, progress, result, ...job }: Row): StoredPart {
  return {
    job,
    params,
    progress,
    result,
    agent: its_agent,
    attempts: attempts.map((one) => ({ ...one, ended_at: new Date(one.ended_at) })),
  }
}

const readStatement = `
with asked as materialized (
  select i.id::uuid as id from json_array_elements_text($1::text::json) i(id)
), needed as (
  select null::uuid as above, id from asked
  union all select p.job_id, p.part_id from asked a join job_parts p on p.job_id = a.id
)
select n.above, ${liveColumns('j')}, m.params, m.progress, m.brought as result,
  case when a.id is not null then
    jsonb_build_object('id', a.id, 'name', case when a.revoked_at is null then a.name end) end as its_agent,
  (select coalesce(jsonb_agg(jsonb_build_object('fence', t.fence, 'attempt', t.attempt, 'outcome', t.outcome,
      'error', t.error, 'agent_id', t.agent_id, 'ended_at', t.ended_at) order by t.fence), '[]')
    from job_attempts t where t.job_id = j.id) as attempts
from needed n join jobs j on j.id = n.id left join maintenance_jobs m on m.id = j.id
left join agents a on a.id = coalesce(j.agent_id, j.target_agent_id)
order by a.name, j.created_at, j.id`
