import type { Agent } from '@errand/shared'
import type { Database } from './database.ts'

/** The raw Ed25519 public key in base64 of an agent that is not revoked. */
export function findAgentKey(db: Database, agentId: string): Promise<string | undefined> {
  throw new Error(`to come ${String(db)} ${agentId}`)
}

/** Those that are not revoked, by name. */
export function listAgents(db: Database): Promise<Agent[]> {
  throw new Error(`to come ${String(db)}`)
}

export function getAgent(db: Database, agentId: string): Promise<Agent | undefined> {
  throw new Error(`to come ${String(db)} ${agentId}`)
}

export function patchAgent(
  db: Database,
  agentId: string,
  patch: { name?: string | undefined; labels?: Record<string, string> | undefined },
): Promise<Agent | 'unknown' | 'name_taken'> {
  throw new Error(`to come ${String(db)} ${agentId} ${String(patch)}`)
}

export function setDraining(db: Database, agentId: string, draining: boolean): Promise<Agent | 'unknown'> {
  throw new Error(`to come ${String(db)} ${agentId} ${draining}`)
}

/** At once: its lease ends, its key is refused. */
export function revokeAgent(db: Database, agentId: string): Promise<'revoked' | 'unknown'> {
  throw new Error(`to come ${String(db)} ${agentId}`)
}
