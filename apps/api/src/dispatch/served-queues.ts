import { slotClassOf, type SlotClass } from '@errand/shared'
import type { Queue } from '../store/queues.ts'
import type { AgentLink } from './agent-link.ts'

/**
 * The queues whose jobs this agent can take in a slot of this class: executor enabled, backend there, labels carried; or
 * its own for maintenance.
 */
export function servedQueues(
  queues: readonly Queue[],
  agent: Pick<AgentLink, 'agentId' | 'labels' | 'report'>,
  slot: SlotClass,
): Queue[] {
  if (slot === 'maintenance') return queues.filter((queue) => queue.agentId === agent.agentId)
  return queues
    .filter((queue) => queue.enabled)
    .filter(({ executorType: type }) => type !== null && slotClassOf(type) === slot)
    .filter(({ executorType: type }) => type !== null && agent.report.backends[type]?.available)
    .filter((queue) => Object.entries(queue.labels).every(([key, value]) => agent.labels[key] === value))
}
