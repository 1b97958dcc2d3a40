import { agents, enrollment_tokens } from '@errand/drizzle/schema'
import { and, desc, eq, isNull, sql } from 'drizzle-orm'
import type { Database } from './database.ts'
import { hashOf, newSecret } from './hashed-secret.ts'
import { newId } from './new-id.ts'
import { isUniqueViolation } from './unique-violation.ts'

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
export async function createEnrollmentToken(
  db: Database,
  given: { name?: string | undefined; labels: Record<string, string>; expiresInSec: number },
): Promise<EnrollmentToken & { token: string }> {
  const id = newId()
  const token = newSecret('errandenroll', id)
  const [row] = await db.drizzle
    .insert(enrollment_tokens)
    .values({
      id,
      name: given.name ?? null,
      labels: given.labels,
      token_sha256: await hashOf(token),
      expires_at: sql`now() + ${given.expiresInSec}::float8 * interval '1 second'`,
    })
    .returning(shown)
  return { ...row!, token }
}

export function listEnrollmentTokens(db: Database): Promise<EnrollmentToken[]> {
  return db.drizzle.select(shown).from(enrollment_tokens).orderBy(desc(enrollment_tokens.id))
}

export async function deleteEnrollmentToken(db: Database, id: string): Promise<boolean> {
  const deleted = await db.drizzle
    .delete(enrollment_tokens)
    .where(eq(enrollment_tokens.id, id))
    .returning({ id: enrollment_tokens.id })
  return deleted.length > 0
}

/**
 * Uses the token up and makes the agent. `refused`: unknown, used, expired, or for another name. A repeat with the
 * same token, name and key (its answer was lost) is answered alike.
 */
export async function enroll(
  db: Database,
  given: { token: string; name: string; publicKey: string },
): Promise<{ agentId: string; name: string } | 'refused' | 'name_taken'> {
  const { name, publicKey } = given
  const token_sha256 = await hashOf(given.token)
  try {
    return await db.transaction(async ({ drizzle }) => {
      // Locked, so that of two who use it at once the second finds it used.
      const [token] = await drizzle
        .select({ ...shown, agent_id: enrollment_tokens.agent_id, valid: sql<boolean>`expires_at > now()` })
        .from(enrollment_tokens)
        .where(eq(enrollment_tokens.token_sha256, token_sha256))
        .for('update')
      if (token === undefined || (token.name !== null && token.name !== name)) return 'refused'
      if (token.agent_id !== null) {
        const same = and(
          eq(agents.id, token.agent_id),
          eq(agents.name, name),
          eq(agents.public_key, publicKey),
        )
        const [before] = await drizzle
          .select()
          .from(agents)
          .where(and(same, isNull(agents.revoked_at)))
        return before === undefined ? 'refused' : { agentId: before.id, name }
      }
      if (!token.valid) return 'refused'
      const agentId = newId()
      await drizzle.insert(agents).values({ id: agentId, name, labels: token.labels, public_key: publicKey })
      await drizzle
        .update(enrollment_tokens)
        .set({ used_at: sql`now()`, agent_id: agentId })
        .where(eq(enrollment_tokens.id, token.id))
      return { agentId, name }
    })
  } catch (error) {
    if (isUniqueViolation(error)) return 'name_taken'
    throw error
  }
}

const shown = {
  id: enrollment_tokens.id,
  name: enrollment_tokens.name,
  labels: enrollment_tokens.labels,
  created_at: enrollment_tokens.created_at,
  expires_at: enrollment_tokens.expires_at,
  used_at: enrollment_tokens.used_at,
}
