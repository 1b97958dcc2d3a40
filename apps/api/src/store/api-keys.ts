import type { Principal, Role } from '@errand/shared'
import type { Database } from './database.ts'

export interface ApiKey {
  id: string
  name: string
  role: Role
  project: string
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
}

export type VerifyKey = (bearer: string) => Promise<Principal | undefined>

/** Who a bearer is. What was found is believed for five seconds, so the hot path reads nothing more. */
export function createVerifyKey(db: Database): VerifyKey {
  throw new Error(`to come ${String(db)}`)
}

/** `key` is shown once; only its hash is stored. */
export function createApiKey(
  db: Database,
  given: { name: string; role: Role; project: string; expiresAt?: Date | undefined },
): Promise<ApiKey & { key: string }> {
  throw new Error(`to come ${String(db)} ${given.name}`)
}

/** Those that are not revoked. */
export function listApiKeys(db: Database): Promise<ApiKey[]> {
  throw new Error(`to come ${String(db)}`)
}

export function revokeApiKey(db: Database, id: string): Promise<boolean> {
  throw new Error(`to come ${String(db)} ${id}`)
}

/** Makes `key` (any text of 16 characters or more) the one bootstrap admin key; the one before it ends. */
export function ensureAdminKey(db: Database, key: string): Promise<void> {
  throw new Error(`to come ${String(db)} ${key.length}`)
}
