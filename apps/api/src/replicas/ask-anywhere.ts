import type { AgentMessage, TimeConstants } from '@errand/shared'
import type { AskAgent } from '../dispatch/ask-agent.ts'
import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Unanswered } from '../dispatch/questions.ts'
import type { Hint } from './hint.ts'
import type { Others } from './others.ts'

type HintOf<Type extends Hint['type']> = Extract<Hint, { type: Type }>
type Answer = AgentMessage | Unanswered

/** Asks an agent wherever it is connected: the replica that holds its socket asks it, and tells what it said. */
export function createAskAnywhere(parts: {
  askHere: AskAgent
  dispatch: Pick<Dispatch, 'linkOf'>
  others: Pick<Others, 'tell' | 'count'>
  time: Pick<TimeConstants, 'checkMs' | 'handshakeMs'>
}) {
  const { askHere, dispatch, others, time } = parts
  const open = new Map<string, { notThere: number; settle(answer: Answer): void }>()

  return { ask, question, answer }

  async function ask(...[agentId, inquiry]: Parameters<AskAgent>): Promise<Answer> {
    if (dispatch.linkOf(agentId) !== undefined) return askHere(agentId, inquiry)
    if (others.count === 0) return 'not_here'
    const request_id = crypto.randomUUID()
    const { promise, resolve } = Promise.withResolvers<Answer>()
    // Longer than the other replica waits for its agent.
    const late = setTimeout(() => resolve('silent'), time.checkMs + 2 * time.handshakeMs)
    open.set(request_id, { notThere: 0, settle: resolve })
    try {
      others.tell({ type: 'question', request_id, agent_id: agentId, inquiry })
      return await promise
    } finally {
      clearTimeout(late)
      open.delete(request_id)
    }
  }

  /** Another replica asks. */
  async function question({ request_id, agent_id, inquiry }: HintOf<'question'>): Promise<void> {
    let answer: Answer = 'silent'
    try {
      answer = dispatch.linkOf(agent_id) ? await askHere(agent_id, inquiry) : 'not_here'
    } finally {
      others.tell({ type: 'answer', request_id, answer })
    }
  }

  /** Another replica answers. Nobody has the agent's socket when all of them say so. */
  function answer({ request_id, answer }: HintOf<'answer'>): void {
    const asked = open.get(request_id)
    if (asked === undefined) return
    if (answer === 'not_here') asked.notThere += 1
    if (answer !== 'not_here' || asked.notThere >= (others.count ?? Infinity)) asked.settle(answer)
  }
}
