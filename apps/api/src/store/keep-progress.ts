import type { JobProgress } from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { isHeld } from './is-held.ts'

/** Keeps how far a maintenance job is, and answers that as it is kept. Undefined when the claim is stale: then nothing changes. */
export async function keepProgress(
  db: Database,
  { id, fence, agentId, epoch, progress }: ClaimOf & { progress: JobProgress },
): Promise<JobProgress | undefined> {
  const [kept] = await db.query<{ progress: JobProgress }>(keepStatement, [
    id,
    fence,
    agentId,
    epoch,
    JSON.stringify(progress),
  ])
  return kept?.progress
}

/**
 * The percentage does not fall with a new attempt either: much of what the one before it fetched is still there. The
 * lock keeps the job's end out until this is in, or this out after it.
 */
const keepStatement = `
with held as materialized (
  select j.id, j.fence from jobs j
  where j.id = $1 and j.fence = $2 and j.agent_id = $3 and j.epoch = $4 and ${isHeld('j')}
  for share
)
update maintenance_jobs m set progress_fence = h.fence,
  progress = $5::text::jsonb || jsonb_build_object('percent',
    greatest((m.progress->>'percent')::float8, ($5::text::jsonb->>'percent')::float8))
from held h where m.id = h.id
returning m.progress`
