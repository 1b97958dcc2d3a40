import type { MaintenanceType, RuntimeName } from '@errand/shared'
import type { Database } from './database.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { maintenanceLimits } from './find-or-make-part.ts'
import { findSubmitted } from './find-submitted.ts'
import type { NewExecution, Submitted } from './submit.ts'

/** A job that is no execution, as a caller asks for it, ready to be stored. */
export interface NewMaintenance extends Pick<
  NewExecution,
  'id' | 'project' | 'keyId' | 'idempotency' | 'executor'
> {
  type: MaintenanceType
  runtime: RuntimeName
  /** Validated and normalised. */
  params: Record<string, unknown>
  /** Of one attempt of a part. */
  timeoutSec: number
  maxAttempts: number
}

/**
 * Stores the job above, which belongs to no queue and waits for its parts to be planned. Resolves only after commit
 * (promise 1); may be repeated with the same item when its outcome is unknown.
 */
export async function submitJob(db: Database, item: NewMaintenance): Promise<Submitted> {
  const { id, project, keyId, idempotency, type, executor, runtime, params, timeoutSec, maxAttempts } = item
  const row = {
    id,
    type,
    project,
    key_id: keyId,
    idempotency_key: idempotency?.key,
    body_sha256: idempotency?.sha256,
    executor_id: executor.executor_id,
    executor_name: executor.name,
    executor_type: executor.executor_type,
    config_id: executor.config_id,
    runtime,
    max_attempts: maxAttempts,
    limits: maintenanceLimits(timeoutSec),
    params,
  }
  const [job] = await db.query<ExecutionRow>(submitStatement, [JSON.stringify(row)])
  if (job !== undefined) return { kind: 'stored', job }
  return (await findSubmitted(db, [item])).get(item)!
}

/** An idempotency key is won by inserting it, as in `submit.ts`. */
const submitStatement = `
with input as (
  select * from json_to_record($1::text::json) as i(id uuid, type text, project text, key_id uuid, idempotency_key text,
    body_sha256 text, executor_id uuid, executor_name text, executor_type text, config_id uuid, runtime text,
    max_attempts int, limits jsonb, params jsonb)
), won as (
  insert into idempotency_keys (key_id, key, body_sha256, job_id)
  select key_id, idempotency_key, body_sha256, id from input where idempotency_key is not null
  on conflict do nothing returning job_id
), stored as (
  insert into jobs (id, type, status, project, key_id, queue_id, executor_id, executor_name, executor_type, config_id,
    runtime, max_attempts, limits, required_limits, labels, created_at)
  select id, type, 'waiting', project, key_id, 0, executor_id, executor_name, executor_type, config_id,
    runtime, max_attempts, limits, '[]', '{}', date_trunc('milliseconds', now())
  from input where idempotency_key is null or id in (select job_id from won)
  on conflict (id) do nothing returning *
), details as (
  insert into maintenance_jobs (id, params) select s.id, i.params from stored s join input i using (id)
)
select ${liveColumns('s')} from stored s`
