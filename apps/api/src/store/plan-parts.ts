import type { ExecutorType, RuntimeName } from '@errand/shared'
import { listAgents } from './agents.ts'
import type { Database } from './database.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { findOrMakePart } from './find-or-make-part.ts'
import { dependenciesNeed, imageNeed } from './need.ts'
import { needyExecutor } from './needy-executor.ts'
import { whoServes } from './waiting-reason.ts'

interface Unplanned {
  id: string
  type: 'docker_image.download' | 'runtime.install'
  executor_type: ExecutorType
  config_id: string
  runtime: RuntimeName
  project: string
  key_id: string
  timeout_sec: number
  max_attempts: number
  waiting_reason: string | null
  params: { dependencies?: string[] }
}

/**
 * Divides jobs that have no parts yet among the agents that serve their executors now, one part each. Where there is no
 * such agent a job waits, and says for what. Resolves to the jobs that have changed.
 */
export async function planParts(db: Database): Promise<ExecutionRow[]> {
  const unplanned = await db.query<Unplanned>(unplannedStatement)
  if (unplanned.length === 0) return []
  const agents = await listAgents(db)
  const planned: ExecutionRow[] = []
  for (const job of unplanned) {
    const executor = await needyExecutor(db, job.config_id)
    const need = { executorType: job.executor_type, labels: executor.settings.agent_labels }
    const { agents: serving, reason } = whoServes(need, agents)
    const changed =
      serving.length === 0
        ? await db.query<ExecutionRow>(explainStatement, [job.id, reason])
        : await db.transaction((tx) =>
            plan(
              tx,
              job,
              serving.map((one) => one.agent_id),
            ),
          )
    planned.push(...changed)
  }
  return planned
}

const unplannedStatement = `
select j.id, j.type, j.executor_type, j.config_id, j.runtime, j.project, j.key_id, j.max_attempts, j.waiting_reason,
  (j.limits->>'timeout_sec')::float8 as timeout_sec, m.params
from jobs j join maintenance_jobs m on m.id = j.id
where j.status = 'waiting' and j.queue_id = 0 order by j.created_at limit 100`

const explainStatement = `
update jobs j set waiting_reason = $2::text
where j.id = $1 and j.status = 'waiting' and j.waiting_reason is distinct from $2::text returning ${liveColumns('j')}`

async function plan(tx: Database, job: Unplanned, agentIds: readonly string[]): Promise<ExecutionRow[]> {
  // Another replica may be at it, or somebody cancels it.
  const [mine] = await tx.query(`select from jobs where id = $1 and status = 'waiting' for no key update`, [
    job.id,
  ])
  if (mine === undefined) return []
  const executor = await needyExecutor(tx, job.config_id)
  const need =
    job.type === 'runtime.install'
      ? await dependenciesNeed(executor, job.runtime, job.params.dependencies ?? [])
      : imageNeed(executor)
  const parts: string[] = []
  // In one order everywhere, so that two who need several never wait for each other.
  for (const agentId of agentIds.toSorted()) {
    const { id } = await findOrMakePart(tx, {
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
    parts.push(id)
  }
  await tx.query(
    `insert into job_parts (job_id, part_id) select $1, id::uuid from json_array_elements_text($2::text::json) i(id)`,
    [job.id, JSON.stringify(parts)],
  )
  return tx.query<ExecutionRow>(
    `update jobs j set status = 'locked', locked_by = $2::uuid, waiting_reason = null
     where j.id = $1 and j.status = 'waiting' returning ${liveColumns('j')}`,
    [job.id, parts[0]],
  )
}
