import { LRUCache } from 'lru-cache'
import type { Secrets } from '../secrets/secrets.ts'
import type { Database } from '../store/database.ts'
import { getExecutorConfig, type ExecutorConfig } from '../store/executors.ts'

/** @throws {CannotOpen} when its secrets cannot be read */
export type ConfigOf = (configId: string) => Promise<ExecutorConfig>

/** Executors' settings with their secrets. Versions never change, so those read before are remembered. */
export function createConfigOf(db: Database, secrets: Secrets): ConfigOf {
  const configs = new LRUCache<string, ExecutorConfig>({ max: 1_000 })
  return async (configId) => {
    const known = configs.get(configId)
    if (known) return known
    const config = await getExecutorConfig(db, secrets, configId)
    if (config === undefined) throw new Error(`no executor configuration ${configId}`)
    configs.set(configId, config)
    return config
  }
}
