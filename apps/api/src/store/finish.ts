import type { Offsets, RunResult, TimeConstants } from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface FinishItem extends ClaimOf {
  result: RunResult
  /** The end of each stream that was not sent before. */
  inlineStdout: Uint8Array
  inlineStderr: Uint8Array
}

export interface Finished {
  /** `already`: this very result is stored. `incomplete`: what would be stored is not what the result speaks of. */
  verdict: 'stored' | 'already' | 'stale' | 'incomplete'
  /** With `incomplete`: what is stored, where the agent sends again from. */
  offsets?: Offsets | undefined
  /** With `stored`: final, or `retrying`. */
  execution?: ExecutionRow | undefined
}

export type Finish = (item: FinishItem) => Promise<Finished>

export function createFinish(db: Database, time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>): Finish {
  throw new Error(`to come ${String(db)} ${String(time)}`)
}
