import type { AgentStock, ShownExecutor } from '@errand/shared'
import type { Database } from './database.ts'
import { storableJson } from './storable-text.ts'

/** What lies on an agent's host, as its newest session tells. */
export async function keepStock(
  db: Database,
  { agentId, epoch }: { agentId: string; epoch: number },
  stock: AgentStock,
): Promise<void> {
  await db.query('update agents set stock = $3::text::jsonb where id = $1 and epoch = $2', [
    agentId,
    epoch,
    JSON.stringify(storableJson(stock)),
  ])
}

/** The dependency sets that were installed for an executor, wherever agents have them: the last used first. */
export function setsOf(db: Database, executor: string): Promise<ShownExecutor['dependency_sets']> {
  return db.query(
    `select s.hash, s.executor, s.place, s.runtime, s.runtime_id, s.dependencies, s.bytes, s.last_used_at, s.in_use,
       a.id as agent_id, a.name as agent
     from agents a cross join lateral jsonb_to_recordset(a.stock->'sets') as s(hash text, executor text, place text, runtime text,
       runtime_id text, dependencies jsonb, bytes bigint, last_used_at text, in_use boolean)
     where a.revoked_at is null and s.executor = $1
     order by s.in_use desc, s.last_used_at desc nulls last, a.name, s.hash`,
    [executor],
  )
}
