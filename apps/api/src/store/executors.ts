import type { ExecutorSettings, ExecutorType } from '@errand/shared'
import { code_executors, executor_secrets } from '@errand/drizzle/schema'
import { and, eq, isNull, sql } from 'drizzle-orm'
import type { Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'
import { allVersions, openSecrets, secretFieldsOf, storeVersion } from './executor-version.ts'
import { mergePatch } from './merge-patch.ts'
import { newId } from './new-id.ts'
import { registryOf } from './registry-of.ts'

export interface ExecutorRow {
  executor_id: string
  name: string
  executor_type: ExecutorType
  source: 'config' | 'default' | 'rest'
  config_id: string
  /** The whole validated configuration without secrets. */
  settings: ExecutorSettings
  has_secrets: string[]
  created_at: Date
  updated_at: Date
}

/** One immutable version of an executor with its secrets: for the agent that runs the job, for nobody else. */
export interface ExecutorConfig {
  executor_id: string
  config_id: string
  name: string
  executor_type: ExecutorType
  source: 'config' | 'default' | 'rest'
  /** What the schema of its type takes: without `executor_type`. */
  settings: Record<string, unknown>
}

/** Those that are not deleted, by name. */
export function listExecutors(db: Database): Promise<ExecutorRow[]> {
  return selectExecutors(db, null)
}

export async function getExecutor(db: Database, name: string): Promise<ExecutorRow | undefined> {
  const [row] = await selectExecutors(db, name)
  return row
}

function selectExecutors(db: Database, name: string | null): Promise<ExecutorRow[]> {
  return db.query(
    `select e.id as executor_id, e.name, e.executor_type, e.source, e.config_id, e.created_at, e.updated_at,
       v.settings || jsonb_build_object('executor_type', e.executor_type) as settings,
       (select coalesce(jsonb_agg(s.field order by s.field), '[]') from executor_secrets s where s.config_id = e.config_id) as has_secrets
     from code_executors e join ${allVersions} v on v.config_id = e.config_id
     where e.deleted_at is null and ($1::text is null or e.name = $1::text) order by e.name`,
    [name],
  )
}

/** Also of versions that are no longer current, and of deleted executors. Throws `CannotOpen`. */
export async function getExecutorConfig(
  db: Database,
  secrets: Secrets,
  configId: string,
): Promise<ExecutorConfig | undefined> {
  const [row] = await db.query<ExecutorConfig>(
    `select e.id as executor_id, v.config_id, e.name, e.executor_type, e.source, v.settings
     from ${allVersions} v join code_executors e on e.id = v.code_executor where v.config_id = $1`,
    [configId],
  )
  return row && { ...row, settings: { ...row.settings, ...(await openSecrets(db, secrets, configId)) } }
}

export function createExecutor(
  db: Database,
  secrets: Secrets,
  given: { name: string; settings: ExecutorSettings },
): Promise<ExecutorRow | 'name_taken'> {
  return db.transaction((tx) => insertExecutor(tx, secrets, { ...given, source: 'rest' }))
}

export async function insertExecutor(
  tx: Database,
  secrets: Secrets,
  given: { name: string; settings: ExecutorSettings; source: ExecutorRow['source'] },
): Promise<ExecutorRow | 'name_taken'> {
  const { name, settings, source } = given
  const id = newId()
  const inserted = await tx.drizzle
    .insert(code_executors)
    .values({ id, name, executor_type: settings.executor_type, source, config_id: id })
    .onConflictDoNothing()
    .returning({ id: code_executors.id })
  if (inserted.length === 0) return 'name_taken'
  await setVersion(tx, secrets, id, settings)
  return (await getExecutor(tx, name))!
}

/**
 * Merge patch (RFC 7396) on the settings. `validate` gets the merged settings, secrets included, and returns them
 * parsed or throws: then nothing changes. Stored secrets go when they would be sent to somebody else (another host,
 * port, user, host key or registry; for `index_auth` also another origin of `index_url`), unless they are sent again. An
 * ssh executor that is left without any is disabled by that, unless the patch itself says what `enabled` is.
 */
export async function patchExecutor(
  db: Database,
  secrets: Secrets,
  given: {
    name: string
    patch: Record<string, unknown>
    validate: (merged: Record<string, unknown>) => ExecutorSettings
  },
): Promise<ExecutorRow | 'unknown' | 'read_only'> {
  const { name, patch, validate } = given
  return db.transaction(async (tx) => {
    const executor = await lockExecutor(tx, name)
    if (executor === undefined) return 'unknown'
    if (executor.source !== 'rest') return 'read_only'
    const { executor_type, ...before } = executor.settings as unknown as Record<string, unknown>
    const after = mergePatch(before, patch) as Record<string, unknown>
    const moved = goesElsewhere(before, after)
    const kept = moved ? {} : await openSecrets(tx, secrets, executor.config_id)
    if (indexOf(before) !== indexOf(after)) delete kept['index_auth']
    const sent = Object.fromEntries(
      secretFieldsOf(executor.executor_type).map((field) => [field, kept[field]]),
    )
    const merged = mergePatch({ ...before, ...definedOf(sent) }, patch) as Record<string, unknown>
    const bare = merged['password'] === undefined && merged['private_key'] === undefined
    if (moved && executor_type === 'ssh' && bare && !('enabled' in patch)) merged['enabled'] = false
    await setVersion(tx, secrets, executor.executor_id, validate({ ...merged, executor_type }))
    return (await getExecutor(tx, name))!
  })
}

/** Its history and what was submitted to it stay; secrets that no live job needs go. */
export async function deleteExecutor(
  db: Database,
  name: string,
): Promise<'deleted' | 'unknown' | 'read_only'> {
  return db.transaction(async (tx) => {
    const executor = await lockExecutor(tx, name)
    if (executor === undefined) return 'unknown'
    if (executor.source !== 'rest') return 'read_only'
    await markDeleted(tx, executor.executor_id)
    return 'deleted'
  })
}

export async function markDeleted(tx: Database, executorId: string): Promise<void> {
  await tx.drizzle
    .update(code_executors)
    .set({ deleted_at: sql`now()` })
    .where(eq(code_executors.id, executorId))
  const needed = sql`(select config_id from jobs where executor_id = ${executorId} and outcome is null)`
  await tx.drizzle
    .delete(executor_secrets)
    .where(and(eq(executor_secrets.executor_id, executorId), sql`config_id not in ${needed}`))
}

/** Makes a new version the current one. */
export async function setVersion(
  tx: Database,
  secrets: Secrets,
  executorId: string,
  settings: ExecutorSettings,
): Promise<void> {
  const configId = await storeVersion(tx, secrets, executorId, settings)
  await tx.drizzle
    .update(code_executors)
    .set({ config_id: configId, updated_at: sql`now()` })
    .where(eq(code_executors.id, executorId))
}

async function lockExecutor(tx: Database, name: string): Promise<ExecutorRow | undefined> {
  await tx.drizzle
    .select({ id: code_executors.id })
    .from(code_executors)
    .where(and(eq(code_executors.name, name), isNull(code_executors.deleted_at)))
    .for('update')
  return getExecutor(tx, name)
}

/** Whether secrets of `before` would reach somebody else with the settings `after`. */
function goesElsewhere(before: Record<string, unknown>, after: Record<string, unknown>): boolean {
  const target = ({ host, port, username, image }: Record<string, unknown>) =>
    JSON.stringify([host, port, username, typeof image !== 'string' || registryOf(image)])
  if (target(before) !== target(after)) return true
  // A first key lets nobody in who was let in before, nor does one of two that goes.
  const trusted = hostKeysOf(before)
  const trusts = hostKeysOf(after)
  return trusted.length > 0 && (trusts.length === 0 || !trusts.every((one) => trusted.includes(one)))
}

/** The origin of its package index: its credentials are for all that lies there. */
function indexOf({ index_url }: Record<string, unknown>): string | undefined {
  return typeof index_url === 'string' ? URL.parse(index_url)?.origin : undefined
}

/** Without comments. */
function hostKeysOf({ host_key, host_key_sha256 }: Record<string, unknown>): string[] {
  return [host_key, host_key_sha256]
    .flat()
    .filter((one) => typeof one === 'string')
    .map((one) => one.split(' ').slice(0, 2).join(' '))
}

function definedOf(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
