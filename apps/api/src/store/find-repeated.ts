import type { Database } from './database.ts'

/** What an idempotency key was used for before; undefined for nothing. */
export async function findRepeated(
  db: Database,
  given: { keyId: string; key: string; sha256: string },
): Promise<{ kind: 'repeated'; id: string } | { kind: 'conflict' } | undefined> {
  const [row] = await db.query<{ job_id: string; body_sha256: string }>(
    'select job_id, body_sha256 from idempotency_keys where key_id = $1 and key = $2',
    [given.keyId, given.key],
  )
  if (row === undefined) return undefined
  return row.body_sha256 === given.sha256 ? { kind: 'repeated', id: row.job_id } : { kind: 'conflict' }
}
