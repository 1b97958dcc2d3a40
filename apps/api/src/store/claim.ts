import { sizeLimits } from '@errand/shared'
import type { Database } from './database.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'

/** A job that an agent has just got, with what it needs to run it. */
export interface Claim {
  id: string
  fence: number
  execution: ExecutionRow
  /** The submission, or the params of a maintenance job; null when it is too large for the socket (`sizeLimits.socketInput`). */
  request: unknown
  requestBytes: number
  requestSha256: string
}

/**
 * Gives waiting jobs of these queues to an agent, at most `slots`: higher priority first, of a key the older first; one
 * key after the other, for where several wait there is `claimFairly`. Nothing when the agent's session is not its
 * newest, its lease has run out, or it is draining or revoked.
 */
export const claim: ClaimFrom = (db, given) => claimBy(claimAnyStatement, db, given)

export type ClaimFrom = (db: Database, given: ClaimGiven) => Promise<Claim[]>

interface ClaimGiven {
  agentId: string
  epoch: number
  queues: readonly number[]
  slots: number
}

export async function claimBy(
  statement: string,
  db: Database,
  { agentId, epoch, queues, slots }: ClaimGiven,
): Promise<Claim[]> {
  if (queues.length === 0 || slots <= 0) return []
  const rows = await db.query<ClaimRow>(statement, [agentId, epoch, JSON.stringify(queues), slots])
  return rows.map(toClaim)
}

export type ClaimRow = ExecutionRow & {
  request: Uint8Array | null
  request_bytes: number
  request_sha256: string
  /** Of a maintenance job. */
  params: Record<string, unknown> | null
}

/** The select list of a `ClaimRow`; `requests` may be missing in an outer join. */
export function claimColumns(job: string, request: string): string {
  return `${liveColumns(job)}, case when ${request}.bytes <= ${sizeLimits.socketInput} then ${request}.body end as request,
    coalesce(${request}.bytes, 0) as request_bytes, coalesce(${request}.sha256, '') as request_sha256,
    (select m.params from maintenance_jobs m where ${job}.type <> 'code.execute' and m.id = ${job}.id) as params`
}

export function toClaim({
  request,
  request_bytes: bytes,
  request_sha256: sha256,
  params,
  ...execution
}: ClaimRow): Claim {
  const given: unknown = params ?? (request && JSON.parse(decoder.decode(request)))
  return claimFor(execution, { request: given, bytes, sha256 })
}

const decoder = new TextDecoder()

/** `bytes` and `sha256` are of the submission as it is stored. */
export function claimFor(
  execution: ExecutionRow,
  { request, bytes, sha256 }: { request: unknown; bytes: number; sha256: string },
): Claim {
  const { id, fence } = execution
  const fits = bytes <= sizeLimits.socketInput
  return { id, fence, execution, request: fits ? request : null, requestBytes: bytes, requestSha256: sha256 }
}

/** SQL: a job that this agent may claim now. */
export function isClaimable(job: string, agentId: string): string {
  return `${job}.status = 'waiting' and (${job}.not_before is null or ${job}.not_before <= now())
    and (${job}.expires_at is null or ${job}.expires_at > now())
    and (${job}.preferred_until is null or ${job}.preferred_until <= now() or ${job}.preferred_agent_id = ${agentId})`
}

/**
 * Claims the jobs of `picked (id)`, the last of the given steps, for the agent $1 in its session $2. The share lock on
 * the session keeps a newer one from opening until this claim is committed: so reconciliation, which touches only claims
 * of older epochs, finds every one of them.
 */
export function claimStatement(steps: string): string {
  return `
with recursive session as materialized (
  select id, epoch from agents
  where id = $1 and epoch = $2 and lease_until > clock_timestamp() and revoked_at is null and not draining
  for share
), ${steps}, claimed as (
  update jobs j set status = 'assigned', agent_id = s.id, epoch = s.epoch, fence = nextval('job_fence'),
    assigned_at = now(), not_before = null, waiting_reason = null, preferred_until = null
  from picked p, session s where j.id = p.id returning j.*
)
select ${claimColumns('c', 'q')} from claimed c left join execution_requests q on q.id = c.id
order by c.priority desc, c.created_at, c.id`
}

const claimAnyStatement = claimStatement(`
picked as materialized (
  select w.id from session cross join json_array_elements_text($3::text::json) q(id) cross join lateral (
    select j.id, j.priority, j.created_at from jobs j where j.queue_id = q.id::int and ${isClaimable('j', 'session.id')}
    order by j.priority desc, j.key_id, j.created_at, j.id limit $4::int for no key update skip locked
  ) w order by w.priority desc, w.created_at, w.id limit $4::int
)`)
