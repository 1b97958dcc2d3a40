import type { ExecutorSettings } from '@errand/shared'
import { code_executors } from '@errand/drizzle/schema'
import { eq } from 'drizzle-orm'
import { CannotOpen, type Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'
import { openSecrets } from './executor-version.ts'
import { insertExecutor, listExecutors, markDeleted, setVersion, type ExecutorRow } from './executors.ts'

export interface ConfigExecutor {
  name: string
  source: 'config' | 'default'
  /** With secrets. */
  settings: ExecutorSettings
}

/**
 * Makes the executors of the file those of the database: what changed gets a new `config_id`, what is no longer in
 * the file is deleted, and a name that REST had taken belongs to the file from now on.
 */
export async function syncConfigExecutors(
  db: Database,
  secrets: Secrets,
  executors: readonly ConfigExecutor[],
): Promise<void> {
  await db.transaction(async (tx) => {
    // Replicas that start together do it one after the other.
    await tx.query('select from control for no key update')
    const stored = new Map((await listExecutors(tx)).map((row) => [row.name, row]))
    const inFile = new Set(executors.map(({ name }) => name))
    for (const row of stored.values())
      if (row.source !== 'rest' && !inFile.has(row.name)) await markDeleted(tx, row.executor_id)
    for (const given of executors) await syncOne(tx, secrets, given, stored.get(given.name))
  })
}

async function syncOne(
  tx: Database,
  secrets: Secrets,
  { name, source, settings }: ConfigExecutor,
  row: ExecutorRow | undefined,
): Promise<void> {
  // The type is part of what an executor is: another one under the same name is another executor.
  const isOther = row !== undefined && row.executor_type !== settings.executor_type
  if (isOther) await markDeleted(tx, row.executor_id)
  if (row === undefined || isOther) {
    await insertExecutor(tx, secrets, { name, settings, source })
    return
  }
  if (row.source !== source)
    await tx.drizzle.update(code_executors).set({ source }).where(eq(code_executors.id, row.executor_id))
  if (!(await isSame(tx, secrets, row, settings))) await setVersion(tx, secrets, row.executor_id, settings)
}

async function isSame(
  tx: Database,
  secrets: Secrets,
  row: ExecutorRow,
  settings: ExecutorSettings,
): Promise<boolean> {
  try {
    const stored = { ...row.settings, ...(await openSecrets(tx, secrets, row.config_id)) }
    return sorted(stored) === sorted(settings)
  } catch (error) {
    // The key ring was replaced: what the file says is sealed anew.
    if (error instanceof CannotOpen) return false
    throw error
  }
}

/** JSON with the keys of every object in order. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
