import { join } from 'node:path'
import { lockDirectory } from '@errand/host/directory-lock'
import type { Database } from '../store/database.ts'
import { openPglite } from './pglite.ts'
import { openPostgres } from './postgres.ts'

/**
 * PostgreSQL where a URL is given, else the embedded PGlite in the data directory. Two processes on one PGlite
 * directory lose rows silently, so the directory is locked first.
 *
 * @throws {DirectoryLocked} when another process has it
 */
export async function openDatabase(given: {
  url: string | undefined
  dataDir: string
  onCrash: (error: Error) => void
}): Promise<Database> {
  if (given.url !== undefined) return openPostgres({ url: given.url })
  lockDirectory(given.dataDir)
  return openPglite({ dataDir: join(given.dataDir, 'pglite'), onCrash: given.onCrash })
}
