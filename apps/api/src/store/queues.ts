import type { ExecutorType } from '@errand/shared'
import { LRUCache } from 'lru-cache'
import type { Database } from './database.ts'
import { allVersions } from './executor-version.ts'
import { waitingLines } from './waiting-lines.ts'

/** What a waiting job needs: its executor, and an agent with all of these labels; or, for maintenance, one agent. */
export interface Queue {
  id: number
  executorId: string | null
  executorType: ExecutorType | null
  agentId: string | null
  labels: Record<string, string>
  /** Of a disabled executor nothing is claimed. */
  enabled: boolean
  /** Its executor has a `max_concurrency`. */
  limited: boolean
  /** Two of the keys whose jobs wait in it, as much as tells whether there are several. */
  waitingKeys: readonly string[]
}

export type QueueFor = (executorId: string, labels: Record<string, string>) => Promise<number>

/** Finds or makes a queue; what was found once is remembered, since queues are never deleted. */
export function createQueueFor(db: Database): QueueFor {
  const known = new LRUCache<string, number>({ max: 10_000 })
  return async (executorId, labels) => {
    const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))
    const key = JSON.stringify([executorId, sorted])
    const id = known.get(key) ?? (await findOrMake(db, executorId, labels))
    known.set(key, id)
    return id
  }
}

async function findOrMake(db: Database, executorId: string, labels: Record<string, string>): Promise<number> {
  const params = [executorId, JSON.stringify(labels)]
  const find = () =>
    db.query<{ id: number }>(
      'select id from queues where executor_id = $1 and labels = $2::text::jsonb',
      params,
    )
  const [found] = await find()
  if (found !== undefined) return found.id
  await db.query(
    'insert into queues (executor_id, labels) values ($1, $2::text::jsonb) on conflict do nothing',
    params,
  )
  const [made] = await find()
  return made!.id
}

/** SQL, of a queue `q`: two of the keys that have the first lines in it. */
const someWaitingKeys = `
  with recursive waiting as (${waitingLines('(select q.id) q')})
  select distinct key_id from (select key_id from waiting limit 64) first limit 2`

export function listQueues(db: Database): Promise<Queue[]> {
  return db.query(
    `select q.id, q.executor_id as "executorId", e.executor_type as "executorType", q.agent_id as "agentId", q.labels,
       coalesce((v.settings->>'enabled')::boolean, true) as enabled, coalesce(v.settings ? 'max_concurrency', false) as limited,
       array_to_json(array(${someWaitingKeys})) as "waitingKeys"
     from queues q left join code_executors e on e.id = q.executor_id left join ${allVersions} v on v.config_id = e.config_id
     order by q.id`,
  )
}
