import { agentMessage, assignedExecutor } from '@errand/shared'
import { z } from 'zod'

const id = z.uuid()

/** Without secrets: whoever holds the agent's socket adds them. */
const inquiry = z.discriminatedUnion('type', [
  z.object({ type: z.literal('check'), config_id: id, ...assignedExecutor.omit({ executor: true }).shape }),
  z.object({ type: z.literal('host_key'), host: z.string(), port: z.int() }),
])

/**
 * What replicas tell each other: that something has happened and where to look, never what. Any may be lost, doubled or
 * late, and one that is of no known type comes from a newer version and is let fall.
 */
export const hint = z.discriminatedUnion('type', [
  /** Of this job something was published. */
  z.object({
    type: z.literal('job'),
    id,
    event: z.enum(['status', 'output', 'progress', 'final']),
  }),
  /** Something may be claimable: in this queue, or anywhere. */
  z.object({ type: z.literal('work'), queue_id: z.int().optional() }),
  /** There are other queues, or their executors have changed. */
  z.object({ type: z.literal('queues') }),
  /** A job of this queue is held no more. */
  z.object({ type: z.literal('freed'), queue_id: z.int() }),
  /** This agent is to end a job. */
  z.object({ type: z.literal('cancel'), agent_id: id, id, fence: z.int() }),
  /** Its row says something new: a newer session, other labels, revoked. */
  z.object({ type: z.literal('agent'), agent_id: id }),
  /** To whoever holds this agent's socket. Every replica answers. */
  z.object({ type: z.literal('question'), request_id: id, agent_id: id, inquiry }),
  z.object({
    type: z.literal('answer'),
    request_id: id,
    answer: z.union([z.enum(['not_here', 'silent']), agentMessage]),
  }),
  /** Hints were lost. */
  z.object({ type: z.literal('all') }),
])
export type Hint = z.infer<typeof hint>
