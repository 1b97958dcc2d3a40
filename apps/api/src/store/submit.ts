import type { AppliedLimits, ExecutorType, LimitName, RuntimeName, Submission } from '@errand/shared'
import { createBatcher } from './batch.ts'
import { claimFor, isClaimable, type Claim } from './claim.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { findSubmitted } from './find-submitted.ts'

/** A validated submission, ready to be stored. */
export interface NewExecution {
  /** Made by the caller (`newId()`), so that a submit whose answer was lost may be repeated. */
  id: string
  project: string
  keyId: string
  /** `sha256` (hex) is of the body as it was sent: same key and same body is the same execution. */
  idempotency: { key: string; sha256: string } | undefined
  executor: { executor_id: string; name: string; executor_type: ExecutorType; config_id: string }
  queueId: number
  runtime: RuntimeName
  limits: AppliedLimits
  requiredLimits: LimitName[]
  submission: Submission
  offer?: Offer | undefined
}

/** A session of an agent that keeps a slot free for this execution, and the queues that the slot serves. */
export interface Offer {
  agentId: string
  epoch: number
  queues: readonly number[]
}

export type Submitted =
  /** With `claim` it is assigned as was offered, by this very call: whoever made the offer now owes the agent its assignment. */
  | { kind: 'stored'; job: ExecutionRow; claim?: Claim | undefined }
  /** The key was used before, with the same body, for this execution. */
  | { kind: 'repeated'; id: string }
  /** The key was used before with another body. */
  | { kind: 'conflict' }

/** Resolves only after commit (promise 1). May be repeated with the same item when its outcome is unknown. */
export type Submit = (item: NewExecution) => Promise<Submitted>

interface Encoded {
  item: NewExecution
  request: string
}

export function createSubmit(db: Database): Submit {
  const submit = createBatcher<Encoded, Submitted>({
    run: (items) => submitAll(db, items),
    weigh: ({ request }) => request.length,
  })
  return (item) => submit({ item, request: JSON.stringify(item.submission) })
}

async function submitAll(db: Database, items: readonly Encoded[]): Promise<Submitted[]> {
  const rows = await db.query<StoredRow>(submitStatement, [JSON.stringify(items.map(toRow))])
  const submitted = new Map(rows.map((row) => [row.n, toStored(items[row.n]!, row)]))
  // What was there before: seldom, so that it may cost two statements more.
  const others = items.map(({ item }) => item).filter((_item, n) => !submitted.has(n))
  if (others.length > 0) {
    const known = await findSubmitted(db, others)
    for (const [n, { item }] of items.entries()) if (!submitted.has(n)) submitted.set(n, known.get(item)!)
  }
  return items.map((_item, n) => submitted.get(n)!)
}

type Stamps = Pick<
  ExecutionRow,
  'status' | 'agent_id' | 'epoch' | 'fence' | 'created_at' | 'assigned_at' | 'expires_at'
>

type StoredRow = Stamps & { n: number; bytes: number; sha256: string }

function toStored({ item }: Encoded, { n: _n, bytes, sha256, ...stamps }: StoredRow): Submitted {
  const job = newRow(item, stamps)
  if (job.status === 'waiting') return { kind: 'stored', job }
  return { kind: 'stored', job, claim: claimFor(job, { request: item.submission, bytes, sha256 }) }
}

function toRow({ item, request }: Encoded, n: number): Record<string, unknown> {
  const { submission } = item
  return {
    n,
    id: item.id,
    project: item.project,
    key_id: item.keyId,
    idempotency_key: item.idempotency?.key,
    body_sha256: item.idempotency?.sha256,
    queue_id: item.queueId,
    executor_id: item.executor.executor_id,
    executor_name: item.executor.name,
    executor_type: item.executor.executor_type,
    config_id: item.executor.config_id,
    runtime: item.runtime,
    priority: submission.priority,
    max_attempts: submission.retry.max_attempts,
    expires_in_sec: submission.expires_in_sec,
    limits: item.limits,
    required_limits: item.requiredLimits,
    labels: submission.labels,
    request,
    agent_id: item.offer?.agentId,
    epoch: item.offer?.epoch,
    served: item.offer?.queues,
  }
}

/**
 * An idempotency key is won by inserting it; who loses (also to one that has not committed yet: the insert waits)
 * stores nothing. The request is JSON text inside JSON text, so NUL in code comes as the six characters of its escape.
 *
 * An offer is taken only where a claim would give this job to this agent now: its session is the newest and may claim
 * (with the same share lock as in `claim.ts`, for the same reason), and nothing waits in any queue that the slot serves.
 */
const submitStatement = `
with input as (
  select * from json_to_recordset($1::text::json) as i(n int, id uuid, project text, key_id uuid, idempotency_key text,
    body_sha256 text, queue_id int, executor_id uuid, executor_name text, executor_type text, config_id uuid, runtime text,
    priority int, max_attempts int, expires_in_sec float8, limits jsonb, required_limits jsonb, labels jsonb, request text,
    agent_id uuid, epoch bigint, served json)
), session as materialized (
  select a.id, a.epoch from agents a where a.id in (select agent_id from input)
    and a.lease_until > clock_timestamp() and a.revoked_at is null and not a.draining
  order by a.id for share
), taken as materialized (
  select i.n, s.id as agent_id, s.epoch from session s join input i on i.agent_id = s.id and i.epoch = s.epoch
  where not exists (select from json_array_elements_text(i.served) q(id)
    join jobs j on j.queue_id = q.id::int and ${isClaimable('j', 's.id')})
), won as (
  insert into idempotency_keys (key_id, key, body_sha256, job_id)
  select distinct on (key_id, idempotency_key) key_id, idempotency_key, body_sha256, id
  from input where idempotency_key is not null order by key_id, idempotency_key, n
  on conflict do nothing returning job_id
), stored as (
  insert into jobs (id, type, status, project, key_id, queue_id, executor_id, executor_name, executor_type, config_id,
    runtime, priority, max_attempts, expires_in_sec, expires_at, limits, required_limits, labels, created_at, agent_id,
    epoch, fence, assigned_at)
  select i.id, 'code.execute', case when t.n is null then 'waiting' else 'assigned' end, i.project, i.key_id, i.queue_id,
    i.executor_id, i.executor_name, i.executor_type, i.config_id, i.runtime, i.priority, i.max_attempts, i.expires_in_sec,
    now() + i.expires_in_sec * interval '1 second', i.limits, i.required_limits, i.labels,
    date_trunc('milliseconds', now()), t.agent_id, t.epoch,
    case when t.n is null then 0 else nextval('job_fence') end, case when t.n is not null then now() end
  from input i left join taken t on t.n = i.n where i.idempotency_key is null or i.id in (select job_id from won)
  on conflict (id) do nothing
  returning id, status, agent_id, epoch, fence, created_at, assigned_at, expires_at
), requests as (
  insert into execution_requests (id, body, bytes, sha256)
  select i.id, r.body, length(r.body), encode(sha256(r.body), 'hex')
  from stored join input i using (id) cross join lateral (select convert_to(i.request, 'UTF8') as body) r
  returning id, bytes, sha256
)
select i.n, s.status, s.agent_id, s.epoch, s.fence, s.created_at, s.assigned_at, s.expires_at, r.bytes, r.sha256
from stored s join requests r using (id) join input i using (id)`

function newRow(item: NewExecution, stamps: Stamps): ExecutionRow {
  const { submission, executor } = item
  return {
    ...nothingYet,
    ...stamps,
    id: item.id,
    project: item.project,
    key_id: item.keyId,
    queue_id: item.queueId,
    executor_id: executor.executor_id,
    executor_name: executor.name,
    executor_type: executor.executor_type,
    config_id: executor.config_id,
    runtime: item.runtime,
    priority: submission.priority,
    max_attempts: submission.retry.max_attempts,
    limits: item.limits,
    required_limits: item.requiredLimits,
    labels: submission.labels,
  }
}

const nothingYet = {
  type: 'code.execute',
  outcome: null,
  attempt: 0,
  locked_by: null,
  waiting_reason: null,
  cancel_requested_at: null,
  not_before: null,
  started_at: null,
  ended_at: null,
  error: null,
  runtime_id: null,
  exit_code: null,
  phase: null,
  signal: null,
  out_of_memory: false,
  hostname: null,
  container_id: null,
  start_time_ms: null,
  end_time_ms: null,
  duration_sec: null,
  stdout: null,
  stderr: null,
  stdout_bytes: 0,
  stderr_bytes: 0,
  stdout_truncated: false,
  stderr_truncated: false,
  usage: null,
  isolation: null,
  timings: null,
  compile: null,
} as const satisfies Partial<ExecutionRow>
