import type { Agent, ExecutorType } from '@errand/shared'
import { listAgents } from './agents.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** The row with `waiting_reason` in words where it waits for an agent and nobody has said why: what is known now. */
export async function withWaitingReason(db: Database, row: ExecutionRow): Promise<ExecutionRow> {
  if (row.status !== 'waiting' || row.waiting_reason !== null) return row
  const [queue] = await db.query<{ labels: Record<string, string> }>(
    'select labels from queues where id = $1',
    [row.queue_id],
  )
  return { ...row, waiting_reason: whyItWaits(row.executor_type, queue?.labels ?? {}, await listAgents(db)) }
}

export function whyItWaits(
  executorType: ExecutorType,
  labels: Readonly<Record<string, string>>,
  agents: readonly Agent[],
): string {
  const online = agents.filter((agent) => agent.status !== 'offline')
  if (online.length === 0) return agents.length === 0 ? 'no agent is enrolled' : 'no agent is online'
  const offering = online.filter((agent) => agent.report?.backends[executorType]?.available)
  if (offering.length === 0) return `no agent that is online offers ${executorType}`
  const wanted = Object.entries(labels)
  const carrying = offering.filter((agent) => wanted.every(([key, value]) => agent.labels[key] === value))
  if (carrying.length === 0)
    return `no agent that is online and offers ${executorType} has the labels ${wanted.map((one) => one.join('=')).join(', ')}`
  if (carrying.every((agent) => agent.status === 'draining'))
    return 'every agent that could take it is draining'
  return 'every slot of the agents that could take it is taken'
}
