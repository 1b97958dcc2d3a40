import { closeCode, isFinal, type AgentMessage } from '@errand/shared'
import type { AgentLink } from '../dispatch/agent-link.ts'
import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Live } from '../live/live.ts'
import { publishChange } from '../live/publish-change.ts'
import type { Log } from '../log.ts'
import { appendOutput } from '../store/append-output.ts'
import { Unavailable, type Database } from '../store/database.ts'
import type { Finish } from '../store/finish.ts'
import { handBack } from '../store/hand-back.ts'
import { keepProgress } from '../store/keep-progress.ts'
import { lock } from '../store/lock.ts'
import { markRunning } from '../store/start.ts'

export interface IngestParts {
  db: Database
  finish: Finish
  live: Live
  dispatch: Dispatch
  settle: () => Promise<void>
  log: Log
}

type Message<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>

/**
 * What agents say about their jobs, into the store and then to whoever watches. Every answer goes out only after
 * commit; what is not answered is sent again by the agent. Messages about one job are worked off in order, those
 * about different jobs overlap, so that the store can take them in batches.
 */
export function createIngest(parts: IngestParts) {
  const { db, finish, live, dispatch, settle, log } = parts
  const tails = new Map<string, Promise<void>>()

  return {
    started: (link: AgentLink, given: Message<'started'>) =>
      inOrder(link, given.id, () => started(link, given)),
    handBack: (link: AgentLink, given: Message<'return'>) =>
      inOrder(link, given.id, () => returned(link, given)),
    lock: (link: AgentLink, given: Message<'lock'>) => inOrder(link, given.id, () => lockJob(link, given)),
    progress: (link: AgentLink, given: Message<'progress'>) =>
      inOrder(link, given.id, () => progressed(link, given)),
    output: (link: AgentLink, given: Message<'output'>, payload: Uint8Array) =>
      inOrder(link, given.id, () => output(link, given, payload)),
    finish: (link: AgentLink, given: Message<'finish'>, payload: Uint8Array) =>
      inOrder(link, given.id, () => finished(link, given, payload)),
  }

  async function started(link: AgentLink, given: Message<'started'>): Promise<void> {
    const execution = await markRunning(db, claimOf(link, given))
    if (execution !== undefined) publishChange(live, execution)
  }

  async function output(link: AgentLink, given: Message<'output'>, bytes: Uint8Array): Promise<void> {
    const { stream, offset } = given
    const stored = await appendOutput(db, { ...claimOf(link, given), stream, offset, bytes })
    link.send({
      type: 'output_stored',
      id: given.id,
      fence: given.fence,
      stream,
      verdict: stored.verdict,
      next_offset: stored.nextOffset,
    })
    // Only what is stored is told: a gap or the cap may have left the end out.
    const kept = bytes.subarray(0, Math.max(0, stored.nextOffset - offset))
    if (stored.verdict === 'stored' && kept.length > 0)
      live.publish(given.id, {
        type: 'output',
        fence: given.fence,
        attempt: stored.attempt,
        stream,
        offset,
        bytes: kept,
      })
  }

  async function finished(link: AgentLink, given: Message<'finish'>, payload: Uint8Array): Promise<void> {
    const { id, fence, inline, result } = given
    const { verdict, offsets, execution } = await finish({
      ...claimOf(link, given),
      result,
      inlineStdout: payload.subarray(0, inline.stdout),
      inlineStderr: payload.subarray(inline.stdout, inline.stdout + inline.stderr),
    })
    link.send({ type: 'finished', id, fence, verdict, ...(offsets && { offsets }) })
    if (execution !== undefined) {
      publishChange(live, execution)
      dispatch.freed(execution.queue_id)
      // Others wait for what it brought.
      if (execution.type !== 'code.execute' && isFinal(execution.status)) await settle()
    }
    if (verdict !== 'stored')
      log.warn({ execution_id: id, agent_id: link.agentId, fence, verdict }, 'result not stored')
  }

  async function returned(link: AgentLink, given: Message<'return'>): Promise<void> {
    const { id, fence, reason } = given
    const { verdict, execution } = await handBack(db, { ...claimOf(link, given), reason })
    link.send({ type: 'returned', id, fence, verdict })
    if (execution !== undefined) publishChange(live, execution)
    dispatch.kick()
  }

  async function lockJob(link: AgentLink, given: Message<'lock'>): Promise<void> {
    const { id, fence, need, reason } = given
    const { verdict, job, queueId } = await lock(db, { ...claimOf(link, given), need, reason })
    link.send({ type: 'returned', id, fence, verdict })
    if (job === undefined) return
    publishChange(live, job)
    dispatch.freed(job.queue_id)
    if (queueId !== undefined) dispatch.kick(queueId)
  }

  async function progressed(link: AgentLink, given: Message<'progress'>): Promise<void> {
    const progress = await keepProgress(db, { ...claimOf(link, given), progress: given.progress })
    if (progress !== undefined) live.publish(given.id, { type: 'progress', progress })
  }

  /** Resolves when the store has taken it or the link is closing; never rejects. */
  function inOrder(link: AgentLink, id: string, act: () => Promise<void>): Promise<void> {
    const next = (tails.get(id) ?? Promise.resolve()).then(act).catch((error: unknown) => {
      // Not answered, so the agent sends it again in its next session.
      log.warn(
        { execution_id: id, agent_id: link.agentId, err: error },
        'could not take a message of an agent',
      )
      link.close(error instanceof Unavailable ? closeCode.tryLater : 1011, 'could not store')
    })
    tails.set(id, next)
    void next.then(() => {
      if (tails.get(id) === next) tails.delete(id)
    })
    return next
  }
}

export type Ingest = ReturnType<typeof createIngest>

function claimOf(link: AgentLink, given: { id: string; fence: number }) {
  return { id: given.id, fence: given.fence, agentId: link.agentId, epoch: link.epoch }
}
