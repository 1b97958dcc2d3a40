import type { AgentReport } from '@errand/shared'
import type { Database } from './database.ts'

export interface Session {
  /** Rises with every connect of this agent; older ones can claim and tell nothing any more. */
  epoch: number
  /** Whether boot and spool are those that were registered: only then does "not held" prove "never started". */
  certain: boolean
  name: string
  labels: Record<string, string>
  draining: boolean
  /** The database's clock, Unix milliseconds. */
  serverTimeMs: number
}

export function openSession(
  db: Database,
  given: { agentId: string; bootId: string; spoolId: string; report: AgentReport; leaseMs: number },
): Promise<Session | 'unknown' | 'revoked'> {
  throw new Error(`to come ${String(db)} ${given.agentId}`)
}

/** The database's clock in Unix milliseconds for each agent whose lease was renewed; those with a newer epoch or revoked are not in it. */
export function renewLeases(
  db: Database,
  sessions: readonly { agentId: string; epoch: number }[],
  leaseMs: number,
): Promise<Map<string, number>> {
  throw new Error(`to come ${String(db)} ${sessions.length} ${leaseMs}`)
}
