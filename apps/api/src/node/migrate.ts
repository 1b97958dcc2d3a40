import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { migrate as applyMigrations } from 'drizzle-orm/pg-proxy/migrator'
import { migrationsFolder } from '@errand/drizzle/migrations-folder'
import type { Database } from '../store/database.ts'

/** Brings the schema up to date under a lock, so that replicas which start together do it once. */
export async function migrate(db: Database, folder: URL = migrationsFolder): Promise<void> {
  const known = await readJournal(folder)
  await db.transaction(async (tx) => {
    await tx.query('select set_config($1, $2, true)', ['statement_timeout', '0'])
    await tx.query('select set_config($1, $2, true)', ['lock_timeout', '0'])
    await tx.query('select pg_advisory_xact_lock($1)', [migrationLock])
    const run = async (statements: string[]) => {
      for (const statement of statements) await tx.query(statement)
    }
    await applyMigrations(tx.drizzle, run, { migrationsFolder: fileURLToPath(folder) })
    await refuseOtherThan(known, tx)
  })
}

/** Any number that nothing else locks. */
const migrationLock = 7_266_401

interface JournalEntry {
  tag: string
  when: number
}

/**
 * drizzle skips, and says nothing, what is older than the newest migration that was applied: two branches that are
 * merged in the other order would miss one. So what was applied has to be exactly what there is.
 */
async function refuseOtherThan(known: readonly JournalEntry[], tx: Database): Promise<void> {
  const rows = await tx.query<{ created_at: string }>('select created_at from drizzle.__drizzle_migrations')
  const applied = new Set(rows.map((row) => Number(row.created_at)))
  const skipped = known.filter((one) => !applied.has(one.when)).map((one) => one.tag)
  if (skipped.length > 0)
    throw new SchemaMismatch(
      `these migrations were skipped, since newer ones had been applied before: ${skipped.join(', ')}`,
    )
  if (applied.size !== known.length)
    throw new SchemaMismatch(
      `the database has ${applied.size} migrations and this version knows ${known.length}: a newer version of Errand has used it`,
    )
}

/** The database's schema is not the one of this version; nothing was changed. */
export class SchemaMismatch extends Error {
  override readonly name = 'SchemaMismatch'
}

export async function readJournal(folder: URL = migrationsFolder): Promise<JournalEntry[]> {
  const text = await readFile(new URL('meta/_journal.json', folder), 'utf8')
  return (JSON.parse(text) as { entries: JournalEntry[] }).entries
}
