import type { AgentStock } from '@errand/shared'
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
