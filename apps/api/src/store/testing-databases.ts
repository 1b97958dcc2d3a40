import { inject } from 'vitest'
import { createDatabase, dropDatabase } from '../../../../infra/create-database.ts'
import { migrate } from '../node/migrate.ts'
import { openPglite } from '../node/pglite.ts'
import { openPostgres } from '../node/postgres.ts'
import type { Database } from './database.ts'

/** For `describe.each`: every database that the store runs on. */
export const testingDatabases: readonly { name: string; open: () => Promise<Database> }[] = [
  { name: 'PGlite', open: openMemory },
  { name: 'PostgreSQL', open: openOwnDatabase },
]

async function openMemory(): Promise<Database> {
  const db = await openPglite({ dataDir: 'memory', onCrash: fail })
  await migrate(db)
  return db
}

/** An empty database of its own on the PostgreSQL of this test run; closing drops it. */
async function openOwnDatabase(): Promise<Database> {
  const url = await createDatabase(inject('databaseUrl'))
  const db = await openPostgres({ url })
  await migrate(db)
  return {
    ...db,
    async close() {
      await db.close()
      await dropDatabase(url)
    },
  }
}

function fail(error: Error): void {
  throw error
}
