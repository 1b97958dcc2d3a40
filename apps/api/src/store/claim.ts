import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** A job that an agent has just got, with what it needs to run it. */
export interface Claim {
  id: string
  fence: number
  execution: ExecutionRow
  /** The submission as JSON in UTF-8; null when it is too large for the socket (`sizeLimits.socketInput`). */
  request: Uint8Array | null
  requestBytes: number
  requestSha256: string
}

export function claim(
  db: Database,
  given: { agentId: string; epoch: number; queues: readonly number[]; slots: number },
): Promise<Claim[]> {
  throw new Error(`to come ${String(db)} ${given.agentId}`)
}
