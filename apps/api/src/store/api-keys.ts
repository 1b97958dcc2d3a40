import type { Principal, Role } from '@errand/shared'
import { api_keys } from '@errand/drizzle/schema'
import { and, asc, eq, isNull } from 'drizzle-orm'
import { LRUCache } from 'lru-cache'
import type { Database } from './database.ts'
import { hashOf, newSecret } from './hashed-secret.ts'
import { newId } from './new-id.ts'

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

/** Who a bearer is. What was found is believed for `believeMs`, so that the hot path reads nothing more. */
export function createVerifyKey(db: Database, believeMs = 5_000): VerifyKey {
  const known = new LRUCache<string, Principal>({
    max: 10_000,
    ttl: believeMs,
    // Also makes one read of many that come at once.
    fetchMethod: (bearer) => findPrincipal(db, bearer),
  })
  return (bearer) => known.fetch(bearer)
}

async function findPrincipal(db: Database, bearer: string): Promise<Principal | undefined> {
  const [row] = await db.query<Principal & { used: boolean }>(
    `select id as key_id, name, role, project, coalesce(last_used_at > now() - interval '1 minute', false) as used
     from api_keys where secret_sha256 = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
    [await hashOf(bearer)],
  )
  if (row === undefined) return undefined
  const { used, ...principal } = row
  if (!used) await db.query('update api_keys set last_used_at = now() where id = $1', [principal.key_id])
  return principal
}

/** `key` is shown once; only its hash is stored. */
export async function createApiKey(
  db: Database,
  given: { name: string; role: Role; project: string; expiresAt?: Date | undefined },
): Promise<ApiKey & { key: string }> {
  const { name, role, project, expiresAt } = given
  const id = newId()
  const key = newSecret('errand', id)
  const [row] = await db.drizzle
    .insert(api_keys)
    .values({ id, name, role, project, expires_at: expiresAt ?? null, secret_sha256: await hashOf(key) })
    .returning(shown)
  return { ...row!, key }
}

/** Those that are not revoked. */
export function listApiKeys(db: Database): Promise<ApiKey[]> {
  return db.drizzle.select(shown).from(api_keys).where(isNull(api_keys.revoked_at)).orderBy(asc(api_keys.id))
}

/** It is refused within the seconds that `createVerifyKey` believes what it found. */
export async function revokeApiKey(db: Database, id: string): Promise<boolean> {
  const revoked = await db.drizzle
    .update(api_keys)
    .set({ revoked_at: new Date() })
    .where(and(eq(api_keys.id, id), isNull(api_keys.revoked_at)))
    .returning({ id: api_keys.id })
  return revoked.length > 0
}

const shown = {
  id: api_keys.id,
  name: api_keys.name,
  role: api_keys.role,
  project: api_keys.project,
  created_at: api_keys.created_at,
  expires_at: api_keys.expires_at,
  last_used_at: api_keys.last_used_at,
}

/**
 * Makes `key` (any text of 16 characters or more) the one bootstrap admin key; the one before it ends, so that a
 * leaked one can be replaced. Replicas share it.
 */
export async function ensureAdminKey(db: Database, key: string): Promise<void> {
  if (key.length < 16) throw new RangeError('the admin key must have at least 16 characters')
  const secret_sha256 = await hashOf(key)
  await db.query(
    `with ended as (update api_keys set revoked_at = now() where bootstrap and revoked_at is null and secret_sha256 <> $2)
     insert into api_keys (id, name, role, project, bootstrap, secret_sha256) values ($1, 'admin', 'admin', 'default', true, $2)
     on conflict (secret_sha256) do update set revoked_at = null, role = 'admin', bootstrap = true`,
    [newId(), secret_sha256],
  )
}
