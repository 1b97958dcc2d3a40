import { sizeLimits, type AppliedLimits, type RuntimeName, type Status } from '@errand/shared'
import type { Database } from './database.ts'
import type { Need, NeedyExecutor } from './need.ts'
import { newId } from './new-id.ts'

/** Who asks for a part, and how it is to be done if it is not under way already. */
export interface PartAsked {
  agentId: string
  need: Need
  executor: NeedyExecutor
  runtime: RuntimeName
  project: string
  keyId: string
  priority: number
  timeoutSec: number
  maxAttempts: number
}

/**
 * The one live job that brings this to this agent: the one that is under way, or a new one. Until the transaction ends
 * nobody can find that nobody waits for it (see `settle.ts`). It may end by itself meanwhile, and then whoever waits for
 * it is settled as ever; a stronger lock would have its agent, and other transactions with many parts, wait for this one.
 */
export async function findOrMakePart(
  tx: Database,
  asked: PartAsked,
): Promise<{ id: string; status: Status; queueId: number }> {
  const { agentId, need, executor } = asked
  await tx.query(`insert into queues (agent_id, labels) values ($1, '{}') on conflict do nothing`, [agentId])
  for (;;) {
    await tx.query(makeStatement, [
      newId(),
      need.type,
      asked.project,
      asked.keyId,
      executor.executor_id,
      executor.name,
      executor.settings.executor_type,
      executor.config_id,
      asked.runtime,
      asked.priority,
      asked.maxAttempts,
      JSON.stringify(maintenanceLimits(asked.timeoutSec)),
      agentId,
      need.key,
      JSON.stringify(need.params),
    ])
    const [part] = await tx.query<{ id: string; status: Status; queueId: number }>(
      `select id, status, queue_id as "queueId" from jobs
       where target_agent_id = $1 and need_key = $2 and outcome is null for key share`,
      [agentId, need.key],
    )
    // None: the one that was there ended in between.
    if (part !== undefined) return part
  }
}

/** Limits of a maintenance job: its output is its log. */
export function maintenanceLimits(timeoutSec: number): AppliedLimits {
  return { timeout_sec: timeoutSec, output_limit_kb: sizeLimits.jobLogKb }
}

const makeStatement = `
with made as (
  insert into jobs (id, type, status, project, key_id, queue_id, executor_id, executor_name, executor_type, config_id,
    runtime, priority, max_attempts, limits, required_limits, labels, created_at, target_agent_id, need_key)
  select $1, $2, 'waiting', $3, $4, q.id, $5, $6, $7, $8, $9, $10, $11, $12::text::jsonb, '[]', '{}',
    date_trunc('milliseconds', now()), $13, $14
  from queues q where q.agent_id = $13
  on conflict (target_agent_id, need_key) where target_agent_id is not null and outcome is null do nothing
  returning id
)
insert into maintenance_jobs (id, params) select id, $15::text::jsonb from made`
