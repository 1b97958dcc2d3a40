import type { ExecutorType, MaintenanceType, RuntimeName } from '@errand/shared'
import { listAgents } from './agents.ts'
import type { Database } from './database.ts'
import { endsAs } from './end-without-result.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { allVersions } from './executor-version.ts'
import { findOrMakePart } from './find-or-make-part.ts'
import { hasStatus } from './has-status.ts'
import { needOf } from './need.ts'
import { needyExecutor } from './needy-executor.ts'
import { whoServes } from './waiting-reason.ts'

interface Unplanned {
  id: string
  type: MaintenanceType
  executor_type: ExecutorType
  config_id: string
  /** Those that its executor asks of agents. */
  agent_labels: Record<string, string>
  runtime: RuntimeName
  project: string
  key_id: string
  timeout_sec: number
  max_attempts: number
  waiting_reason: string | null
  params: { dependencies?: string[] }
  created_at: Date
}

const isWaiting = hasStatus('j', 'waiting')

/** So many are read at once. */
const page = 1_000

/**
 * Divides jobs that have no parts yet among the agents that serve their executors now, one part each. Where there is no
 * such agent a job waits, and says for what. Resolves to the jobs that have changed.
 */
export async function planParts(db: Database): Promise<ExecutionRow[]> {
  const changed: ExecutionRow[] = []
  let unplanned = await readUnplanned(db)
  if (unplanned.length === 0) return changed
  const agents = await listAgents(db)
  while (unplanned.length > 0) {
    for (const job of unplanned) {
      const need = { executorType: job.executor_type, labels: job.agent_labels }
      const { agents: serving, reason } = whoServes(need, agents)
      const ids = serving.map((one) => one.agent_id)
      changed.push(...(ids.length === 0 ? await explain(db, job, reason!) : await plan(db, job, ids)))
    }
    unplanned = unplanned.length < page ? [] : await readUnplanned(db, unplanned.at(-1))
  }
  return changed
}

/** The oldest of them; or those after this one. All have the same priority, and with that the index gives them in order. */
function readUnplanned(db: Database, after?: Unplanned): Promise<Unplanned[]> {
  return db.query(unplannedStatement, [
    after?.created_at.toISOString() ?? '-infinity',
    after?.id ?? '00000000-0000-0000-0000-000000000000',
  ])
}

const unplannedStatement = `
select j.id, j.type, j.executor_type, j.config_id, j.runtime, j.project,
  j.key_id, j.max_attempts, j.waiting_reason, (j.limits->>'timeout_sec')::float8 as timeout_sec, m.params, j.created_at,
  (select v.settings->'agent_labels' from ${allVersions} v where v.config_id = j.config_id) as agent_labels
from jobs j join maintenance_jobs m on m.id = j.id
where j.status = 'waiting' and j.queue_id = 0 and (j.created_at, j.id) > ($1::text::timestamptz, $2::uuid)
order by j.priority desc, j.created_at, j.id limit ${page}`

async function explain(db: Database, job: Unplanned, reason: string): Promise<ExecutionRow[]> {
  return job.waiting_reason === reason ? [] : db.query(explainStatement, [job.id, reason])
}

const explainStatement = `
update jobs j set waiting_reason = $2::text
where j.id = $1 and ${isWaiting} and j.waiting_reason is distinct from $2::text returning ${liveColumns('j')}`

/** A part that it would share is being canceled: it would end with that, and is planned when that has ended. */
class NotYet extends Error {}

async function plan(db: Database, job: Unplanned, agentIds: readonly string[]): Promise<ExecutionRow[]> {
  try {
    return await db.transaction((tx) => makeParts(tx, job, agentIds))
  } catch (error) {
    if (error instanceof NotYet) return explain(db, job, 'the same is being canceled on one of its agents')
    throw error
  }
}

async function makeParts(tx: Database, job: Unplanned, agentIds: readonly string[]): Promise<ExecutionRow[]> {
  // Another replica may be at it, or somebody cancels it.
  const [mine] = await tx.query(`select from jobs j where j.id = $1 and ${isWaiting} for no key update`, [
    job.id,
  ])
  if (mine === undefined) return []
  const executor = await needyExecutor(tx, job.config_id)
  const need = await needOf(job.type, executor, job.runtime, job.params.dependencies ?? [])
  if ('fault' in need) return tx.query(refuseStatement, [job.id, need.fault])
  const parts: string[] = []
  // In one order everywhere, so that two who need several never wait for each other.
  for (const agentId of agentIds.toSorted()) {
    const { id, status } = await findOrMakePart(tx, {
      agentId,
      need,
      executor,
      runtime: job.runtime,
      project: job.project,
      keyId: job.key_id,
      priority: 0,
      timeoutSec: job.timeout_sec,
      maxAttempts: job.max_attempts,
    })
    if (status === 'canceling') throw new NotYet()
    parts.push(id)
  }
  await tx.query(
    `insert into job_parts (job_id, part_id) select $1, id::uuid from json_array_elements_text($2::text::json) i(id)`,
    [job.id, JSON.stringify(parts)],
  )
  return tx.query<ExecutionRow>(
    `update jobs j set status = 'locked', locked_by = $2::uuid, waiting_reason = null
     where j.id = $1 and ${isWaiting} returning ${liveColumns('j')}`,
    [job.id, parts[0]],
  )
}

const refuseStatement = `
update jobs j set ${endsAs('rejected', '$2::text')}
where j.id = $1 and ${isWaiting} returning ${liveColumns('j')}`
