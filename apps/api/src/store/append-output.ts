import type { Stream } from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { isHeld } from './is-held.ts'

export interface Appended {
  verdict: 'stored' | 'stale'
  /** How much of this stream is stored now: where the agent goes on. */
  nextOffset: number
  /** The attempt the output belongs to; 0 when stale. */
  attempt: number
}

/**
 * Stores what continues a stream exactly: of an overlap only the new end, beyond a gap nothing, and nothing beyond
 * the job's limit. So what is stored is always a prefix of what was written (promise 4), however often it is sent.
 */
export async function appendOutput(
  db: Database,
  given: ClaimOf & { stream: Stream; offset: number; bytes: Uint8Array },
): Promise<Appended> {
  const { id, fence, agentId, epoch, stream, offset, bytes } = given
  const [row] = await db.query<{
    attempt: number
    status: string
    next: number
    inserted: boolean
    due: boolean
  }>(appendStatement, [id, fence, agentId, epoch, stream, offset, bytes])
  if (row === undefined) return { verdict: 'stale', nextOffset: 0, attempt: 0 }
  // Another sender stored a piece at this place since our snapshot: look again.
  if (row.due && !row.inserted) return appendOutput(db, given)
  const attempt = row.status === 'assigned' ? row.attempt + 1 : Math.max(1, row.attempt)
  return { verdict: 'stored', nextOffset: row.next, attempt }
}

/**
 * The lock keeps `finish` out until the piece is in, or this out after it. A piece always begins where the stream
 * ends, so that two senders meet in the primary key.
 */
const appendStatement = `
with held as materialized (
  select id, fence, attempt, status, (limits->>'output_limit_kb')::bigint * 1024 as cap from jobs
  where id = $1 and fence = $2 and agent_id = $3 and epoch = $4 and ${isHeld('jobs')}
  for share
), place as (
  select held.*, coalesce((select o."offset" + length(o.bytes) from execution_output o
    where o.execution_id = held.id and o.fence = held.fence and o.stream = $5
    order by o."offset" desc limit 1), 0) as reached from held
), piece as (
  select p.*, case when $6::bigint <= p.reached
    then substring($7::bytea from (p.reached - $6::bigint + 1)::int for greatest(0, p.cap - p.reached)::int) else ''::bytea end as bytes
  from place p where $6::bigint > p.reached - length($7::bytea)
), inserted as (
  insert into execution_output (execution_id, fence, stream, "offset", bytes)
  select id, fence, $5, reached, bytes from piece where length(bytes) > 0
  on conflict do nothing returning length(bytes) as length
)
select p.attempt, p.status, p.reached + coalesce((select length from inserted), 0) as next,
  exists (select from inserted) as inserted, exists (select from piece where length(bytes) > 0) as due
from place p`
