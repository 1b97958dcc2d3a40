import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'

/** The job after its start was stored. Undefined when nothing changed: it runs already, or the claim is stale. */
export async function markRunning(
  db: Database,
  { id, fence, agentId, epoch }: ClaimOf,
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(startStatement, [id, fence, agentId, epoch])
  return row
}

/** A job that is to be canceled may have started all the same, and that counts as an attempt. */
const startStatement = `
update jobs j set status = case status when 'assigned' then 'running' else status end, attempt = attempt + 1,
  started_at = greatest(created_at, now())
where id = $1 and fence = $2 and agent_id = $3 and epoch = $4 and status in ('assigned', 'canceling') and started_at is null
returning ${liveColumns('j')}`
