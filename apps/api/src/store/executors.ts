import type { ExecutorSettings, ExecutorType } from '@errand/shared'
import type { Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'

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
  settings: Record<string, unknown>
}

export interface ConfigExecutor {
  name: string
  source: 'config' | 'default'
  /** With secrets. */
  settings: ExecutorSettings
}

/** Makes the executors of the file those of the database. Only what changed gets a new `config_id`. */
export function syncConfigExecutors(
  db: Database,
  secrets: Secrets,
  executors: readonly ConfigExecutor[],
): Promise<void> {
  throw new Error(`to come ${String(db)} ${String(secrets)} ${executors.length}`)
}

export function listExecutors(db: Database): Promise<ExecutorRow[]> {
  throw new Error(`to come ${String(db)}`)
}

export function getExecutor(db: Database, name: string): Promise<ExecutorRow | undefined> {
  throw new Error(`to come ${String(db)} ${name}`)
}

/** Also of versions that are no longer current and of deleted executors. */
export function getExecutorConfig(
  db: Database,
  secrets: Secrets,
  configId: string,
): Promise<ExecutorConfig | undefined> {
  throw new Error(`to come ${String(db)} ${String(secrets)} ${configId}`)
}

export function createExecutor(
  db: Database,
  secrets: Secrets,
  given: { name: string; settings: ExecutorSettings },
): Promise<ExecutorRow | 'name_taken'> {
  throw new Error(`to come ${String(db)} ${String(secrets)} ${given.name}`)
}

/**
 * Merge patch (RFC 7396) on the settings. `validate` gets the merged settings, secrets included, and returns them
 * parsed or throws: then nothing changes. Secrets go when host, port, username, host key or image change, unless
 * they are sent again.
 */
export function patchExecutor(
  db: Database,
  secrets: Secrets,
  given: {
    name: string
    patch: Record<string, unknown>
    validate(merged: Record<string, unknown>): ExecutorSettings
  },
): Promise<ExecutorRow | 'unknown' | 'read_only'> {
  throw new Error(`to come ${String(db)} ${String(secrets)} ${given.name}`)
}

/** Its history and what was submitted to it stay. */
export function deleteExecutor(db: Database, name: string): Promise<'deleted' | 'unknown' | 'read_only'> {
  throw new Error(`to come ${String(db)} ${name}`)
}
