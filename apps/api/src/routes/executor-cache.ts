import { LRUCache } from 'lru-cache'
import type { Parts } from '../app.ts'
import { type ExecutorRow, getExecutor } from '../store/executors.ts'

export interface ExecutorCache {
  /** The executor with the queue of its jobs. */
  find(name: string): Promise<{ executor: ExecutorRow; queueId: number } | undefined>
  /** After a change made here: the next look is at the store. */
  forget(name: string): void
}

/**
 * Executors by name for the hot path, so that a submit reads nothing. Believed for a second: a change made through
 * another replica holds here from then on, and a submit in between runs on the version before, as if it had come
 * just before the change.
 */
export function createExecutorCache({
  db,
  queueFor,
  time,
}: Pick<Parts, 'db' | 'queueFor' | 'time'>): ExecutorCache {
  const cache = new LRUCache<string, { executor: ExecutorRow; queueId: number }>({
    max: 1_000,
    ttl: time.pollEveryMs,
    async fetchMethod(name) {
      const executor = await getExecutor(db, name)
      if (executor === undefined) return undefined
      return { executor, queueId: await queueFor(executor.executor_id, executor.settings.agent_labels) }
    },
  })
  return { find: (name) => cache.fetch(name), forget: (name) => void cache.delete(name) }
}
