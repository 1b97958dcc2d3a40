import { closeCode, slotClass, type SlotClass, type Slots } from '@errand/shared'
import type { Log } from '../log.ts'
import { claim, type Claim } from '../store/claim.ts'
import { createClaimWithinLimits } from '../store/claim-within-limits.ts'
import { Unavailable, type Database } from '../store/database.ts'
import type { Finish } from '../store/finish.ts'
import { listQueues, type Queue } from '../store/queues.ts'
import type { AgentLink } from './agent-link.ts'
import type { Assign } from './assignment-of.ts'
import { servedQueues } from './served-queues.ts'
import { unassignable } from './unassignable.ts'

export interface DispatchParts {
  db: Database
  log: Log
  finish: Finish
  assignmentOf: (claim: Claim) => Promise<Assign>
}

interface Connected {
  link: AgentLink
  labels: Readonly<Record<string, string>>
  credits: Slots
  /** At most one claim for an agent is under way; `again` says that something came up meanwhile. */
  claiming: boolean
  again: boolean
  /** Cancels of jobs whose assignment may not have been sent yet. */
  cancelsAfterClaim: { id: string; fence: number }[]
}

/**
 * Brings waiting jobs to agents with free slots. Holds only what a socket holds: which agents are connected here and
 * how much they can take. A kick is a hint; `poll` is the truth.
 */
export function createDispatch({ db, log, finish, assignmentOf }: DispatchParts) {
  const claimWithinLimits = createClaimWithinLimits(db)
  const connected = new Map<string, Connected>()
  let queues: Queue[] = []

  return {
    join,
    leave,
    grant,
    kick,
    freed,
    cancel,
    assign,
    setLabels,
    linkOf,
    revoke,
    closeAll,
    poll,
  }

  /** The newest session of an agent wins. Its credits begin at nothing. */
  function join(link: AgentLink): void {
    const before = connected.get(link.agentId)?.link
    const older = before && before.epoch > link.epoch ? link : before
    older?.close(closeCode.replaced, 'a newer session has taken over')
    if (older === link) return
    const credits = { run: 0, ssh: 0, maintenance: 0 }
    connected.set(link.agentId, {
      link,
      labels: link.labels,
      credits,
      claiming: false,
      again: false,
      cancelsAfterClaim: [],
    })
  }

  function leave(link: AgentLink): void {
    if (connected.get(link.agentId)?.link === link) connected.delete(link.agentId)
  }

  function grant(link: AgentLink, credits: Slots): void {
    const agent = connected.get(link.agentId)
    if (agent?.link !== link) return
    for (const one of slotClass.options) agent.credits[one] += credits[one]
    pump(agent)
  }

  /** Something may be claimable: in this queue, or anywhere. The freest agents come first. */
  function kick(queueId?: number): void {
    if (queueId !== undefined && !queues.some((queue) => queue.id === queueId))
      void refreshQueues().then(() => kick())
    const free = [...connected.values()].filter((agent) => sum(agent.credits) > 0)
    for (const agent of free.sort((a, b) => sum(b.credits) - sum(a.credits))) pump(agent)
  }

  /** A job of this queue is held no more. Where its executor has a `max_concurrency`, another may be claimed. */
  function freed(queueId: number): void {
    if (queues.some((queue) => queue.id === queueId && queue.limited)) kick()
  }

  /** The slow poll behind every kick: new queues, retries that are due, hints that were lost. */
  async function poll(): Promise<void> {
    await refreshQueues()
    kick()
  }

  async function refreshQueues(): Promise<void> {
    queues = await listQueues(db).catch((error: unknown) => {
      log.warn({ err: error }, 'could not read the queues')
      return queues
    })
  }

  function pump(agent: Connected): void {
    agent.again = true
    if (agent.claiming) return
    agent.claiming = true
    void claimWhileAble(agent).finally(() => {
      agent.claiming = false
      sendCancels(agent)
    })
  }

  async function claimWhileAble(agent: Connected): Promise<void> {
    const { link, credits } = agent
    while (agent.again && connected.get(link.agentId) === agent) {
      agent.again = false
      for (const one of slotClass.options) {
        const served = servedQueues(queues, { labels: agent.labels, report: link.report }, one)
        if (credits[one] === 0 || served.length === 0) continue
        await claimInto(agent, one, served).catch((error: unknown) => {
          // What was claimed and not sent is found by the agent's next renewal; what was not claimed, by the poll.
          const level = error instanceof Unavailable ? 'warn' : 'error'
          log[level]({ agent_id: link.agentId, err: error }, 'could not claim')
        })
      }
    }
  }

  async function claimInto(agent: Connected, slot: SlotClass, served: readonly Queue[]): Promise<void> {
    const claims = await claimOf(agent.link, agent.credits[slot], served)
    agent.credits[slot] -= claims.length
    for (const one of claims) {
      if (await assign(agent.link, one)) continue
      agent.credits[slot] += 1
      agent.again = true
    }
    sendCancels(agent)
  }

  function claimOf({ agentId, epoch }: AgentLink, slots: number, served: readonly Queue[]): Promise<Claim[]> {
    const ids = (limited: boolean) => served.filter((one) => one.limited === limited).map((one) => one.id)
    const given = { agentId, epoch, slots, free: ids(false), limited: ids(true) }
    return given.limited.length === 0 ? claim(db, { ...given, queues: given.free }) : claimWithinLimits(given)
  }

  function sendCancels(agent: Connected): void {
    for (const { id, fence } of agent.cancelsAfterClaim.splice(0))
      agent.link.send({ type: 'cancel', id, fence })
  }

  /** Whether it was sent. What can't be made into a message ends, or it would be claimed for ever. */
  async function assign(link: AgentLink, one: Claim): Promise<boolean> {
    const { agentId, epoch } = link
    try {
      link.send(await assignmentOf(one))
      log.debug({ execution_id: one.id, agent_id: agentId, fence: one.fence }, 'assigned')
      return true
    } catch (error) {
      if (error instanceof Unavailable) throw error
      log.error({ execution_id: one.id, agent_id: agentId, err: error }, 'cannot be assigned')
      await finish({ id: one.id, fence: one.fence, agentId, epoch, ...unassignable(link.report.hostname) })
      return false
    }
  }

  /** Asks the agent to end a job. Where it is not connected here, its next inventory learns of it. */
  function cancel(agentId: string, id: string, fence: number): void {
    const agent = connected.get(agentId)
    if (agent === undefined) return
    // The job may have been claimed a moment ago, its assignment not sent: the cancel must not overtake it.
    if (agent.claiming) agent.cancelsAfterClaim.push({ id, fence })
    else agent.link.send({ type: 'cancel', id, fence })
  }

  function setLabels(agentId: string, labels: Readonly<Record<string, string>>): void {
    const agent = connected.get(agentId)
    if (agent === undefined) return
    agent.labels = labels
    pump(agent)
  }

  /** Undefined when it is not connected here. */
  function linkOf(agentId: string): AgentLink | undefined {
    return connected.get(agentId)?.link
  }

  function revoke(agentId: string): void {
    connected.get(agentId)?.link.close(closeCode.refused, 'this agent was revoked')
  }

  /** This replica goes down: agents come back after their first reconnect window. */
  function closeAll(): void {
    for (const { link } of connected.values()) link.close(closeCode.restarting, 'this server is restarting')
    connected.clear()
  }

  function sum(credits: Slots): number {
    return credits.run + credits.ssh + credits.maintenance
  }
}

export type Dispatch = ReturnType<typeof createDispatch>
