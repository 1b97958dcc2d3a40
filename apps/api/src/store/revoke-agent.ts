import type { TimeConstants } from '@errand/shared'
import { agents } from '@errand/drizzle/schema'
import { and, eq, isNull, sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { loseJobsOf } from './expire.ts'

/**
 * At once: from the commit on its key is refused, and nothing is taken from it any more. What it held is lost, or
 * retried: those jobs, as they are then.
 */
export function revokeAgent(
  db: Database,
  agentId: string,
  time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>,
): Promise<ExecutionRow[] | 'unknown'> {
  return db.transaction(async (tx) => {
    const revoked = await tx.drizzle
      .update(agents)
      .set({ revoked_at: sql`now()`, lease_until: sql`now()`, epoch: sql`epoch + 1` })
      .where(and(eq(agents.id, agentId), isNull(agents.revoked_at)))
      .returning({ id: agents.id })
    return revoked.length > 0 ? loseJobsOf(tx, agentId, time) : 'unknown'
  })
}
