import type { ExecutorType, SlotClass } from '@errand/shared'
import type { Queue } from '../store/queues.ts'
import type { AgentLink } from './agent-link.ts'

/** The queues whose jobs this agent can take in a slot of this class: executor enabled, backend there, labels carried. */
export function servedQueues(
  queues: readonly Queue[],
  agent: Pick<AgentLink, 'labels' | 'report'>,
  slot: SlotClass,
): Queue[] {
  return queues
    .filter((queue) => queue.enabled)
    .filter((queue) => slotClassOf(queue.executorType) === slot)
    .filter((queue) => agent.report.backends[queue.executorType]?.available)
    .filter((queue) => Object.entries(queue.labels).every(([key, value]) => agent.labels[key] === value))
}

/** ssh runs cost this host almost nothing; docker and localhost runs take its cores. */
export function slotClassOf(executorType: ExecutorType): SlotClass {
  return executorType === 'ssh' ? 'ssh' : 'run'
}
