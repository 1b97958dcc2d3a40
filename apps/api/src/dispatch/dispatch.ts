import { closeCode, slotClass, type SlotClass, type Slots, type TimeConstants } from '@errand/shared'
import type { Log } from '../log.ts'
import { claim, type Claim } from '../store/claim.ts'
import { claimAgain } from '../store/claim-again.ts'
import { claimFairly } from '../store/claim-fairly.ts'
import { createClaimWithinLimits } from '../store/claim-within-limits.ts'
import { Unavailable, type Database } from '../store/database.ts'
import type { Finish } from '../store/finish.ts'
import { listQueues, type Queue } from '../store/queues.ts'
import type { Offer } from '../store/submit.ts'
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
  /** The queues that a slot of each class serves. */
  served: Record<SlotClass, readonly Queue[]>
  /** Of those that were granted, what is neither used nor being asked for. */
  credits: Slots
  /** Classes for which something may wait: since the last claim that found less than it asked for, a kick came. */
  mayWait: Set<SlotClass>
  /** At most one claim for an agent is under way. */
  claiming: boolean
  /** Cancels of jobs whose assignment may not have been sent yet. */
  cancelsAfterClaim: { id: string; fence: number }[]
  /** Executions that are being submitted into one of its slots, and the fence that was canceled meanwhile. */
  reserved: Map<string, number | undefined>
}

/** A slot that is kept free for an execution while that is being submitted. */
export interface Reservation {
  readonly offer: Offer
  /** To be called once: sends the assignment where the offer was taken, else gives the slot back. */
  settle(taken: Claim | undefined): void
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
    reserve,
    kick,
    freed,
    cancel,
    assign,
    reassign,
    setLabels,
    linkOf,
    links,
    here,
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
    const agent: Connected = {
      link,
      labels: link.labels,
      served: { run: [], ssh: [], maintenance: [] },
      credits: { run: 0, ssh: 0, maintenance: 0 },
      mayWait: new Set(slotClass.options),
      claiming: false,
      cancelsAfterClaim: [],
      reserved: new Map(),
    }
    serve(agent)
    connected.set(link.agentId, agent)
  }

  function serve(agent: Connected): void {
    const { labels, link } = agent
    for (const one of slotClass.options)
      agent.served[one] = servedQueues(queues, { agentId: link.agentId, labels, report: link.report }, one)
  }

  function leave(link: AgentLink): void {
    if (connected.get(link.agentId)?.link === link) connected.delete(link.agentId)
  }

  function grant(link: AgentLink, credits: Slots): void {
    const agent = connected.get(link.agentId)
    if (agent?.link !== link) return
    for (const one of slotClass.options) agent.credits[one] += credits[one]
    void pump(agent)
  }

  /**
   * Keeps a slot of an agent for an execution that is about to be submitted to this queue: of the freest agent that
   * serves it. The store decides whether it gets it. Undefined where there is none, or where only a claim may assign it.
   */
  function reserve(executionId: string, queueId: number): Reservation | undefined {
    let best: { agent: Connected; slot: SlotClass; free: number } | undefined
    for (const agent of connected.values())
      for (const slot of slotClass.options) {
        const free = agent.credits[slot]
        if (free <= (best?.free ?? 0)) continue
        const queue = agent.served[slot].find(({ id }) => id === queueId)
        if (queue && !queue.limited) best = { agent, slot, free }
      }
    if (best === undefined) return undefined
    const { agent, slot } = best
    agent.credits[slot] -= 1
    agent.reserved.set(executionId, undefined)
    const { agentId, epoch } = agent.link
    return {
      offer: { agentId, epoch, queues: agent.served[slot].map(({ id }) => id) },
      settle: (taken) => void settle(agent, slot, executionId, taken),
    }
  }

  async function settle(agent: Connected, slot: SlotClass, id: string, taken: Claim | undefined) {
    if (taken === undefined) agent.credits[slot] += 1
    else await assignInto(agent, slot, taken).catch((error: unknown) => logUnassigned(agent, error))
    const canceled = agent.reserved.get(id)
    agent.reserved.delete(id)
    if (canceled !== undefined) agent.link.send({ type: 'cancel', id, fence: canceled })
    void pump(agent)
  }

  /** Something may be claimable: in this queue, or anywhere. The freest agents come first. */
  function kick(queueId?: number): void {
    if (queueId !== undefined && !queues.some((queue) => queue.id === queueId))
      return void refreshQueues().then(() => kick())
    const agents = [...connected.values()]
    for (const agent of agents)
      for (const one of slotClass.options)
        if (queueId === undefined || agent.served[one].some(({ id }) => id === queueId))
          agent.mayWait.add(one)
    for (const agent of agents.sort((a, b) => sum(b.credits) - sum(a.credits))) void pump(agent)
  }

  /** A job of this queue is held no more. Where its executor has a `max_concurrency`, another may be claimed. */
  function freed(queueId: number): void {
    if (queues.some((queue) => queue.id === queueId && queue.limited)) kick()
  }

  /** The slow poll behind every kick: new queues, keys that wait beside others, retries that are due, hints that were lost. */
  async function poll(): Promise<void> {
    await refreshQueues()
    kick()
  }

  async function refreshQueues(): Promise<void> {
    queues = await listQueues(db).catch((error: unknown) => {
      log.warn({ err: error }, 'could not read the queues')
      return queues
    })
    for (const agent of connected.values()) serve(agent)
  }

  async function pump(agent: Connected): Promise<void> {
    if (agent.claiming) return
    agent.claiming = true
    for (let slot = slotToFill(agent); slot !== undefined; slot = slotToFill(agent)) {
      await claimInto(agent, slot).catch((error: unknown) => logUnassigned(agent, error))
      sendCancels(agent)
    }
    // In the same turn as the last look: a kick in between would be lost.
    agent.claiming = false
  }

  function slotToFill(agent: Connected): SlotClass | undefined {
    const { link, credits, served, mayWait } = agent
    if (connected.get(link.agentId) !== agent) return undefined
    return slotClass.options.find((one) => mayWait.has(one) && credits[one] > 0 && served[one].length > 0)
  }

  /** What was claimed and not sent is found by the agent's next renewal; what was not claimed, by the poll. */
  function logUnassigned({ link }: Connected, error: unknown): void {
    const level = error instanceof Unavailable ? 'warn' : 'error'
    log[level]({ agent_id: link.agentId, err: error }, 'could not assign')
  }

  async function claimInto(agent: Connected, slot: SlotClass): Promise<void> {
    const { link, credits, served, mayWait } = agent
    const slots = credits[slot]
    // Nobody else may spend them meanwhile.
    credits[slot] = 0
    mayWait.delete(slot)
    let claims: Claim[] = []
    try {
      claims = await claimOf(link, slots, served[slot])
    } finally {
      credits[slot] += slots - claims.length
    }
    if (claims.length === slots || (claims.length > 0 && isShared(served[slot]))) mayWait.add(slot)
    for (const one of claims) await assignInto(agent, slot, one)
  }

  /** Where it can't be sent another may have the slot. */
  async function assignInto(agent: Connected, slot: SlotClass, one: Claim): Promise<void> {
    if (await assign(agent.link, one)) return
    agent.credits[slot] += 1
    agent.mayWait.add(slot)
  }

  function claimOf({ agentId, epoch }: AgentLink, slots: number, served: readonly Queue[]): Promise<Claim[]> {
    const ids = (limited: boolean) => served.filter((one) => one.limited === limited).map((one) => one.id)
    const given = { agentId, epoch, slots, free: ids(false), limited: ids(true) }
    if (given.limited.length > 0) return claimWithinLimits(given)
    return (isShared(served) ? claimFairly : claim)(db, { ...given, queues: given.free })
  }

  /** As of the last poll: jobs of several keys wait in them. */
  function isShared(served: readonly Queue[]): boolean {
    return new Set(served.flatMap(({ waitingKeys }) => waitingKeys)).size > 1
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

  /** Answers an agent that has lost the assignment of a claim which it holds. */
  async function reassign(link: AgentLink, { id, fence }: { id: string; fence: number }): Promise<void> {
    const { agentId, epoch } = link
    const held = await claimAgain(db, { id, fence, agentId, epoch })
    let message: Assign | undefined
    try {
      message = held && (await assignmentOf(held))
    } catch (error) {
      if (error instanceof Unavailable) throw error
      // What has come of it the agent knows, and will tell.
      log.error({ execution_id: id, agent_id: agentId, err: error }, 'cannot be assigned again')
    }
    link.send({ type: 'reassigned', id, fence, job: message?.job ?? null })
  }

  /** Asks the agent to end a job. Where it is not connected here, its next inventory learns of it. */
  function cancel(agentId: string, id: string, fence: number): void {
    const agent = connected.get(agentId)
    if (agent === undefined) return
    // The job may have been assigned a moment ago, its assignment not sent: the cancel must not overtake it.
    if (agent.reserved.has(id)) agent.reserved.set(id, fence)
    else if (agent.claiming) agent.cancelsAfterClaim.push({ id, fence })
    else agent.link.send({ type: 'cancel', id, fence })
  }

  function setLabels(agentId: string, labels: Readonly<Record<string, string>>): void {
    const agent = connected.get(agentId)
    if (agent === undefined || isSame(agent.labels, labels)) return
    agent.labels = labels
    serve(agent)
    for (const one of slotClass.options) agent.mayWait.add(one)
    void pump(agent)
  }

  /** Undefined when it is not connected here. */
  function linkOf(agentId: string): AgentLink | undefined {
    return connected.get(agentId)?.link
  }

  /** Of all agents that are connected here. */
  function links(): AgentLink[] {
    return Array.from(connected.values(), ({ link }) => link)
  }

  /** How many agents are connected to this replica, and how many free slots they have offered. */
  function here(): { agents: number; granted: Slots } {
    const granted: Slots = { run: 0, ssh: 0, maintenance: 0 }
    for (const { credits } of connected.values())
      for (const one of slotClass.options) granted[one] += credits[one]
    return { agents: connected.size, granted }
  }

  function revoke(agentId: string): void {
    connected.get(agentId)?.link.close(closeCode.refused, 'this agent was revoked')
  }

  /** This replica goes down: its agents come back to whichever is there, spread over a time that grows with their number. */
  function closeAll(time: TimeConstants, random: () => number): void {
    const spreadMs = Math.max(time.reconnectMinMs, connected.size * time.reconnectSpreadMs)
    // None shall lose its lease by it.
    const withinMs = Math.min(spreadMs, time.leaseMs / 2)
    for (const { link } of connected.values()) {
      link.send({ type: 'reconnect', reconnect_in_ms: Math.round(random() * withinMs) })
      link.close(closeCode.restarting, 'this server is restarting')
    }
    connected.clear()
  }

  function sum(credits: Slots): number {
    return credits.run + credits.ssh + credits.maintenance
  }

  function isSame(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
    const keys = Object.keys(a)
    return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
  }
}

export type Dispatch = ReturnType<typeof createDispatch>
