import type { Held } from '@errand/shared'
import type { Claim } from './claim.ts'
import type { Database } from './database.ts'

/** Claims of this session that were sent longer ago and are not among those held: to be sent again, with the same fence. */
export function assignedButNotHeld(
  db: Database,
  given: { agentId: string; epoch: number; held: readonly Held[]; olderThanMs: number },
): Promise<Claim[]> {
  throw new Error(`to come ${String(db)} ${given.agentId}`)
}
