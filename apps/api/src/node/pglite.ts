import type { Database } from '../store/database.ts'
import { drizzleOver, type RunStatement } from '../store/drizzle-over.ts'
import { startPgliteThread, type PgliteThread } from './pglite-thread.ts'
import { plannerSettings } from './postgres.ts'

export interface PgliteOptions {
  /** A directory that this process holds the lock of; `memory` for tests. */
  dataDir: string
  /** The worker died: nothing can be stored any more, and the process has to end. */
  onCrash: (error: Error) => void
}

/** Opens PGlite in a thread of its own, making the database where there is none. */
export async function openPglite({ dataDir, onCrash }: PgliteOptions): Promise<Database> {
  const thread = await startPgliteThread(dataDir === 'memory' ? 'memory://' : dataDir, onCrash)
  const db: Database = { ...databaseOf(thread), close: () => thread.close() }
  for (const setting of Object.entries(plannerSettings))
    await db.query('select set_config($1, $2, false)', setting)
  return db
}

function databaseOf(thread: PgliteThread, transaction?: number): Database {
  const run: RunStatement = async (text, params, asArrays) => {
    const { rows } = await thread.call({ kind: 'query', text, params, asArrays, transaction })
    return rows
  }
  return {
    query: (text, params = []) => run(text, params, false) as Promise<never[]>,
    transaction: (act) => transact(thread, act),
    drizzle: drizzleOver(run),
    close: () => Promise.reject(new Error('a transaction is closed by its end')),
  }
}

/** All other statements wait in the worker until it ends: PGlite has one connection. */
async function transact<T>(thread: PgliteThread, act: (tx: Database) => Promise<T>): Promise<T> {
  const { id: transaction } = await thread.call({ kind: 'begin' })
  const tx: Database = {
    ...databaseOf(thread, transaction),
    transaction: () => Promise.reject(new Error('a transaction inside a transaction')),
  }
  let result: T
  try {
    result = await act(tx)
  } catch (error) {
    await thread.call({ kind: 'rollback', transaction })
    throw error
  }
  await thread.call({ kind: 'commit', transaction })
  return result
}
