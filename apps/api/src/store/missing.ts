import type { Held } from '@errand/shared'
import { claimColumns, toClaim, type Claim, type ClaimRow } from './claim.ts'
import type { Database } from './database.ts'

/**
 * Claims of this session that were made longer ago and are not among those held: they were lost on the way and are
 * to be sent again, with the same fence.
 */
export async function assignedButNotHeld(
  db: Database,
  given: { agentId: string; epoch: number; held: readonly Held[]; olderThanMs: number },
): Promise<Claim[]> {
  const { agentId, epoch, held, olderThanMs } = given
  const rows = await db.query<ClaimRow>(missingStatement, [agentId, epoch, olderThanMs, JSON.stringify(held)])
  return rows.map(toClaim)
}

const missingStatement = `
select ${claimColumns('j', 'q')} from jobs j left join execution_requests q on q.id = j.id
where j.agent_id = $1 and j.epoch = $2 and j.status = 'assigned'
  and j.assigned_at < now() - $3::float8 * interval '1 millisecond'
  and not exists (select from json_to_recordset($4::text::json) as h(id uuid, fence bigint) where h.id = j.id and h.fence = j.fence)`
