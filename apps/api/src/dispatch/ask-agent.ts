import type { AgentMessage, AssignedExecutor } from '@errand/shared'
import type { ConfigOf } from './config-of.ts'
import type { Questions, Unanswered } from './questions.ts'

/** What is asked of an agent, without secrets: whoever holds its socket adds them. */
export type Inquiry =
  | ({ type: 'check'; config_id: string } & Omit<AssignedExecutor, 'executor'>)
  | { type: 'host_key'; host: string; port: number }

/** The answer is of the agent: whether it is one to the inquiry is for the asker to see. */
export type AskAgent = (agentId: string, inquiry: Inquiry) => Promise<AgentMessage | Unanswered>

/** Asks an agent that is connected to this replica. */
export function createAskAgent({
  questions,
  configOf,
}: {
  questions: Pick<Questions, 'check' | 'hostKey'>
  configOf: ConfigOf
}): AskAgent {
  return async (agentId, inquiry) => {
    if (inquiry.type === 'host_key') return questions.hostKey(agentId, inquiry)
    const { type, config_id, ...asked } = inquiry
    const { executor_type, name, source, settings } = await configOf(config_id)
    return questions.check(agentId, {
      type,
      executor: { executor_type, name, config_id, source, settings },
      ...asked,
    })
  }
}
