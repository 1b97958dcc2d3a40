import type { Stream } from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'

export interface Appended {
  verdict: 'stored' | 'stale'
  /** How much of this stream is stored now: where the agent goes on. */
  nextOffset: number
  /** The attempt the output belongs to. */
  attempt: number
}

export function appendOutput(
  db: Database,
  given: ClaimOf & { stream: Stream; offset: number; bytes: Uint8Array },
): Promise<Appended> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}
