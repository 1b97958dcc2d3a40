import type { AgentMessage, ApiMessage, TimeConstants } from '@errand/shared'
import type { AgentLink } from './agent-link.ts'

type Message<Type extends ApiMessage['type']> = Extract<ApiMessage, { type: Type }>
type Answer<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>
type WithoutId<Question> = Omit<Question, 'request_id'>

/** `not_here`: its socket, if it has one, is another replica's; said to a caller: it has none. `silent`: it did not answer in time, or has gone. */
export type Unanswered = 'not_here' | 'silent'

interface Open {
  link: AgentLink
  type: AgentMessage['type']
  settle(answer: AgentMessage | 'silent'): void
}

export interface QuestionsParts {
  linkOf: (agentId: string) => AgentLink | undefined
  time: Pick<TimeConstants, 'checkMs' | 'handshakeMs'>
}

/**
 * What this replica asks the agents that are connected to it, and waits for. Nothing of it is stored: who gets no answer
 * asks again.
 */
export function createQuestions({ linkOf, time }: QuestionsParts) {
  const open = new Map<string, Open>()

  return {
    check: (agentId: string, question: WithoutId<Message<'check'>>) =>
      ask<Answer<'checked'>>(agentId, question, 'checked'),
    hostKey: (agentId: string, question: WithoutId<Message<'host_key'>>) =>
      ask<Answer<'host_key_seen'>>(agentId, question, 'host_key_seen'),
    answered,
    left,
  }

  async function ask<Expected extends AgentMessage>(
    agentId: string,
    question: WithoutId<Message<'check'> | Message<'host_key'>>,
    type: Expected['type'],
  ): Promise<Expected | Unanswered> {
    const link = linkOf(agentId)
    if (link === undefined) return 'not_here'
    const request_id = crypto.randomUUID()
    const { promise, resolve } = Promise.withResolvers<AgentMessage | 'silent'>()
    const late = setTimeout(() => resolve('silent'), time.checkMs + time.handshakeMs)
    open.set(request_id, { link, type, settle: resolve })
    try {
      link.send({ ...question, request_id } as ApiMessage)
      return (await promise) as Expected | 'silent'
    } finally {
      clearTimeout(late)
      open.delete(request_id)
    }
  }

  /** One that nobody waits for any more, or that another agent was asked, is let fall. */
  function answered(link: AgentLink, answer: Answer<'checked'> | Answer<'host_key_seen'>): void {
    const asked = open.get(answer.request_id)
    if (asked?.link === link && asked.type === answer.type) asked.settle(answer)
  }

  function left(link: AgentLink): void {
    for (const asked of open.values()) if (asked.link === link) asked.settle('silent')
  }
}

export type Questions = ReturnType<typeof createQuestions>
