import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface HandedBack {
  verdict: 'stored' | 'stale'
  /** As it is now, `waiting` or `canceled`; absent when it was handed back before. */
  execution?: ExecutionRow | undefined
}

export function handBack(db: Database, given: ClaimOf & { reason: string }): Promise<HandedBack> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}
