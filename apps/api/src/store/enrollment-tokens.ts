import type { Database } from './database.ts'

export interface EnrollmentToken {
  id: string
  /** The agent's name, when the token fixes it. */
  name: string | null
  labels: Record<string, string>
  created_at: Date
  expires_at: Date
  used_at: Date | null
}

/** `token` is shown once; only its hash is stored. */
export function createEnrollmentToken(
  db: Database,
  given: { name?: string | undefined; labels: Record<string, string>; expiresInSec: number },
): Promise<EnrollmentToken & { token: string }> {
  throw new Error(`to come ${String(db)} ${String(given)}`)
}

export function listEnrollmentTokens(db: Database): Promise<EnrollmentToken[]> {
  throw new Error(`to come ${String(db)}`)
}

export function deleteEnrollmentToken(db: Database, id: string): Promise<boolean> {
  throw new Error(`to come ${String(db)} ${id}`)
}

/**
 * Uses the token up and makes the agent. `refused`: unknown, used, expired, or for another name. A repeat with the
 * same token, name and key (its answer was lost) is answered alike.
 */
export function enroll(
  db: Database,
  given: { token: string; name: string; publicKey: string },
): Promise<{ agentId: string; name: string } | 'refused' | 'name_taken'> {
  throw new Error(`to come ${String(db)} ${given.name}`)
}
