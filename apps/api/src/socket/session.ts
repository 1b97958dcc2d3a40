import {
  agentMessage,
  closeCode,
  decodeFrame,
  encodeFrame,
  MalformedFrame,
  protocolVersion,
  type AgentMessage,
  type ApiMessage,
  type TimeConstants,
} from '@errand/shared'
import type { AgentLink } from '../dispatch/agent-link.ts'
import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Questions } from '../dispatch/questions.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { Live } from '../live/live.ts'
import { publishChange } from '../live/publish-change.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { findAgentKey } from '../store/agents.ts'
import { Unavailable, type Database } from '../store/database.ts'
import { assignedButNotHeld } from '../store/missing.ts'
import { reconcile } from '../store/reconcile.ts'
import { openSession as openStoredSession, type Renew } from '../store/sessions.ts'
import { keepStock } from '../store/stock.ts'
import type { Admission } from './admission.ts'
import type { AgentSocket, SocketEvents } from './agent-socket.ts'
import { createMessageRate } from './message-rate.ts'
import { provesAgent } from './prove-agent.ts'

export interface SessionParts {
  db: Database
  dispatch: Dispatch
  questions: Questions
  ingest: Ingest
  live: Live
  metrics: Metrics
  renew: Renew
  log: Log
  admission: Pick<Admission, 'admit'>
  time: TimeConstants
  serverId: string
}

type Message<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>

/**
 * One socket of an agent, from the challenge to its end: `hello` proves who it is and opens an epoch, `inventory`
 * settles what it holds, and only then do credits count. Anything out of that order ends the socket.
 */
export function openSession(parts: SessionParts, socket: AgentSocket): SocketEvents {
  const { db, dispatch, questions, ingest, live, metrics, log, time } = parts
  const nonce = crypto.getRandomValues(new Uint8Array(32)).toBase64()
  let stage: 'hello' | 'inventory' | 'live' | 'closed' = 'hello'
  let certain = false
  let link: AgentLink | undefined
  // Frames are worked off in the order they came; what may overlap (ingest) does not make the next one wait.
  let tail = Promise.resolve()
  const rate = createMessageRate(() => performance.now())
  let unread = 0
  let paused = false

  metrics.sockets.inc()
  let late = closeAfter(time.handshakeMs)
  send({ type: 'challenge', nonce, server_id: parts.serverId })
  return { message: enqueue, closed }

  function enqueue(data: string | Uint8Array): void {
    if (!rate.allows()) return close(closeCode.policyViolation, 'too many messages')
    tail = tail.then(() => (stage === 'closed' ? undefined : receive(data))).catch(fail)
    countUntil(tail, data.length)
  }

  /** Counts bytes as unread until `done`; while there are too many the socket is not read. */
  function countUntil(done: Promise<void>, bytes: number): void {
    unread += bytes
    if (!paused && unread > unreadCeiling) {
      paused = true
      socket.pause()
    }
    void done.then(() => {
      unread -= bytes
      if (!paused || unread > unreadCeiling / 2) return
      paused = false
      socket.resume()
    })
  }

  async function receive(data: string | Uint8Array): Promise<void> {
    const { message, payload } = decodeFrame(data)
    const parsed = agentMessage.safeParse(message)
    if (!parsed.success) throw new MalformedFrame()
    const given = parsed.data
    if (stage === 'hello' && given.type === 'hello') return hello(given)
    if (stage === 'inventory' && given.type === 'inventory') return inventory(given)
    // May have been asked as soon as it had its epoch.
    if (given.type === 'checked' || given.type === 'host_key_seen')
      return link && questions.answered(link, given)
    if (stage !== 'live' || link === undefined)
      return close(closeCode.protocolError, `${given.type} out of order`)
    switch (given.type) {
      case 'credits':
        return dispatch.grant(link, given)
      case 'renew':
        return renew(link, given)
      case 'reassign':
        return dispatch.reassign(link, given)
      case 'started':
        return countUntil(ingest.started(link, given), data.length)
      case 'output':
        return countUntil(ingest.output(link, given, payload), data.length)
      case 'finish':
        return countUntil(ingest.finish(link, given, payload), data.length)
      case 'return':
        return countUntil(ingest.handBack(link, given), data.length)
      case 'lock':
        return countUntil(ingest.lock(link, given), data.length)
      case 'progress':
        return countUntil(ingest.progress(link, given), data.length)
      case 'stock':
        return keepStock(db, link, given.stock)
      case 'hello':
      case 'inventory':
        return close(closeCode.protocolError, `${given.type} comes once`)
    }
  }

  async function hello(given: Message<'hello'>): Promise<void> {
    if (given.protocol !== protocolVersion)
      return refuse(
        'protocol',
        closeCode.unsupportedVersion,
        `this server speaks protocol ${protocolVersion}`,
      )
    const waitMs = parts.admission.admit()
    if (waitMs !== undefined) {
      send({ type: 'reconnect', reconnect_in_ms: waitMs })
      return refuse('crowded', closeCode.tryLater, 'not now')
    }
    const publicKey = await findAgentKey(db, given.agent_id)
    if (publicKey === undefined || !(await provesAgent(given, publicKey, nonce, parts.serverId)))
      return refuse('identity', closeCode.refused, 'unknown agent, or its signature is not right')
    const session = await openStoredSession(db, {
      agentId: given.agent_id,
      bootId: given.boot_id,
      spoolId: given.spool_id,
      report: given.report,
      leaseMs: time.leaseMs,
    })
    if (session === 'unknown' || session === 'revoked')
      return refuse('revoked', closeCode.refused, 'this agent was revoked')
    certain = session.certain
    link = {
      agentId: given.agent_id,
      epoch: session.epoch,
      labels: session.labels,
      report: given.report,
      send,
      close,
    }
    stage = 'inventory'
    // To settle what it held may take the database a while; its lease lasts no longer anyway.
    clearTimeout(late)
    late = closeAfter(time.leaseMs)
    dispatch.join(link)
    send({
      type: 'welcome',
      epoch: session.epoch,
      protocol: protocolVersion,
      server_time_ms: session.serverTimeMs,
    })
  }

  async function inventory(given: Message<'inventory'>): Promise<void> {
    const { agentId, epoch } = link!
    const { jobs, ended } = await reconcile(db, { agentId, epoch, certain, held: given.held, time })
    clearTimeout(late)
    stage = 'live'
    send({ type: 'reconciled', jobs })
    for (const execution of ended) publishChange(live, execution)
    for (const { verdict } of jobs) metrics.reconciled.inc({ verdict })
    log.info({ agent_id: agentId, epoch, held: given.held.length }, 'agent connected')
    for (const queueId of new Set(ended.map((execution) => execution.queue_id))) {
      dispatch.kick(queueId)
      dispatch.freed(queueId)
    }
  }

  async function renew(link: AgentLink, given: Message<'renew'>): Promise<void> {
    const { agentId, epoch } = link
    const begun = performance.now()
    const renewed = await parts.renew({ agentId, epoch })
    metrics.renewed.observe((performance.now() - begun) / 1_000)
    metrics.renewals.inc({ result: renewed === undefined ? 'refused' : 'renewed' })
    if (renewed === undefined) return close(closeCode.replaced, 'a newer session has taken over')
    send({ type: 'renewed', sequence: given.sequence, server_time_ms: renewed.serverTimeMs })
    if (!renewed.mayMiss) return
    const held = given.held
    for (const claim of await assignedButNotHeld(db, {
      agentId,
      epoch,
      held,
      olderThanMs: time.renewEveryMs,
    }))
      await dispatch.assign(link, claim)
  }

  function closeAfter(ms: number) {
    return setTimeout(() => refuse('slow', closeCode.policyViolation, 'handshake took too long'), ms)
  }

  function refuse(why: string, code: number, words: string): void {
    metrics.handshakesRefused.inc({ reason: why })
    close(code, words)
  }

  function send(message: ApiMessage): void {
    if (stage !== 'closed') socket.send(encodeFrame(message))
  }

  function fail(error: unknown): void {
    if (error instanceof MalformedFrame) return close(closeCode.protocolError, error.message)
    if (error instanceof Unavailable) {
      log.warn(
        { agent_id: link?.agentId, err: error },
        'the database is away; the agent shall come back later',
      )
      return close(closeCode.tryLater, 'the database is away')
    }
    log.error({ agent_id: link?.agentId, err: error }, 'agent session failed')
    close(1011, 'internal error')
  }

  function close(code: number, reason: string): void {
    if (stage === 'closed') return
    closed()
    socket.close(code, reason)
  }

  function closed(): void {
    if (stage === 'closed') return
    stage = 'closed'
    metrics.sockets.dec()
    clearTimeout(late)
    if (link === undefined) return
    dispatch.leave(link)
    questions.left(link)
    log.info({ agent_id: link.agentId, epoch: link.epoch }, 'agent disconnected')
  }
}

/** Bytes read from one agent and not yet worked off; above it the socket is not read. */
const unreadCeiling = 4 * 1024 * 1024
