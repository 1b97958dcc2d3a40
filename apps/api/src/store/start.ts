import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** Undefined when nothing changed: it runs already, or the claim is stale. */
export function markRunning(db: Database, claim: ClaimOf): Promise<ExecutionRow | undefined> {
  throw new Error(`to come ${String(db)} ${claim.id}`)
}
