import { claimColumns, toClaim, type Claim, type ClaimRow } from './claim.ts'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { isHeld } from './is-held.ts'

/** A claim that this session holds, as it was made; undefined when it is another's, or over. */
export async function claimAgain(
  db: Database,
  { id, fence, agentId, epoch }: ClaimOf,
): Promise<Claim | undefined> {
  const [row] = await db.query<ClaimRow>(claimAgainStatement, [id, fence, agentId, epoch])
  if (row === undefined) return undefined
  const claim = toClaim(row)
  // A start that is stored has counted as one: this claim's own.
  if (row.started_at !== null) claim.execution.attempt -= 1
  return claim
}

const claimAgainStatement = `
select ${claimColumns('j', 'q')} from jobs j left join execution_requests q on q.id = j.id
where j.id = $1 and j.fence = $2 and j.agent_id = $3 and j.epoch = $4 and ${isHeld('j')}`
