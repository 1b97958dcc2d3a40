import { apiMessage, assignment, closeCode, protocolVersion, signedHello } from '@errand/shared'
import type { AgentMessage, AgentReport, ApiMessage, Held, SlotClass, Slots } from '@errand/shared'
import { apiAddress } from '../api-address.ts'
import type { Claim } from '../claim.ts'
import type { ConnectionParts } from './connection.ts'
import { Socket } from './socket.ts'

type Reconciled = Extract<ApiMessage, { type: 'reconciled' }>['jobs']

/** What the API wants to know. */
export type Question = Extract<ApiMessage, { type: 'check' | 'host_key' }>

/** What the API says of jobs. */
export type JobMessage = Exclude<
  ApiMessage,
  { type: 'challenge' | 'welcome' | 'reconciled' | 'renewed' | 'reconnect' } | Question
>

/** What messages mean for the rest of the agent. */
export interface SessionEvents {
  held(): Held[]
  /** From now on frames may be sent. Called before any credit is granted. */
  reconciled(session: Session, jobs: Reconciled): void
  /** What is new to grant, counted as granted. */
  grant(): Slots | undefined
  received(message: JobMessage): void
  /** Never rejects. */
  answer(question: Question): Promise<AgentMessage>
  /** An assignment that only a newer agent would understand. */
  notUnderstood(claim: Claim, slots: SlotClass): void
  /** Called once, whatever came before. */
  closed(): void
}

export interface SessionEnd {
  code: number
  reason: string
  /** For how long it was reconciled; 0 if it never came to that. */
  lastedMs: number
  /** When the API wants to see this agent again, where it has said so. */
  reconnectInMs: number | undefined
}

/**
 * One connection from `challenge` to its end. The order is a promise: `hello` answers `challenge`, the inventory is
 * made after `welcome` (when no older socket can bring anything), credits come after `reconciled`.
 */
export class Session {
  /** Settles when it is over. */
  readonly ended: Promise<SessionEnd>
  readonly #parts: ConnectionParts
  readonly #report: AgentReport
  readonly #socket: Socket
  #state: 'challenge' | 'welcome' | 'reconciled' | 'open' = 'challenge'
  #deadline: NodeJS.Timeout
  #renewals: NodeJS.Timeout | undefined
  #sequence = 0
  /** When hello and the unanswered renewals were sent (monotonic). */
  #helloSentAt = 0
  readonly #renewSentAt = new Map<number, number>()
  #reconciledAt: number | undefined
  #reconnectInMs: number | undefined

  constructor(parts: ConnectionParts, report: AgentReport) {
    this.#parts = parts
    this.#report = report
    const { promise, resolve } = Promise.withResolvers<SessionEnd>()
    this.ended = promise
    this.#deadline = setTimeout(() => this.terminate('no welcome in time'), parts.time.handshakeMs)
    this.#socket = new Socket(socketAddress(parts.url), parts.time, {
      message: (message) => this.#receive(message),
      closed: (code, reason) => {
        clearTimeout(this.#deadline)
        clearInterval(this.#renewals)
        parts.events.closed()
        const lastedMs = this.#reconciledAt === undefined ? 0 : parts.monotonic() - this.#reconciledAt
        resolve({ code, reason, lastedMs, reconnectInMs: this.#reconnectInMs })
      },
    })
  }

  /**
   * Nothing is sent once the lease has run out, be it by a stopped process or a silent API: what we hold may belong to
   * others by now, and only a new session tells.
   */
  send(message: AgentMessage, payload?: Uint8Array, sent?: () => void): void {
    if (!this.#parts.lease.alive) this.terminate('the lease has run out')
    else this.#socket.send(message, payload, sent)
  }

  /** Tells the API of free slots. */
  offerCredits(): void {
    if (this.#state !== 'open') return
    const more = this.#parts.events.grant()
    if (more) this.send({ type: 'credits', ...more })
  }

  close(): void {
    this.#socket.close(1000, 'the agent stops')
  }

  terminate(reason: string): void {
    this.#socket.terminate(reason)
  }

  #receive(data: unknown): void {
    const parsed = apiMessage.safeParse(data)
    if (!parsed.success) return this.#receiveUnknown(data)
    const message = parsed.data
    switch (message.type) {
      case 'challenge':
        return this.#hello(message)
      case 'welcome':
        return this.#takeInventory(message)
      case 'reconciled':
        return this.#open(message.jobs)
      case 'renewed':
        return this.#renewed(message)
      case 'assign':
      case 'reassigned':
      case 'cancel':
      case 'output_stored':
      case 'finished':
      case 'returned':
        return this.#parts.events.received(message)
      case 'check':
      case 'host_key':
        return void this.#answer(message)
      case 'reconnect':
        this.#reconnectInMs = message.reconnect_in_ms
        return
    }
  }

  #hello({ nonce, server_id }: Extract<ApiMessage, { type: 'challenge' }>): void {
    if (this.#state !== 'challenge') return this.#protocolError()
    const { identity, key, bootId, spoolId, log, monotonic } = this.#parts
    if (server_id !== identity.server_id) {
      log.error(
        { server_id, enrolled_with: identity.server_id },
        'this is not the API that the agent enrolled with',
      )
      this.#socket.close(closeCode.policyViolation, 'another server')
      return
    }
    this.#state = 'welcome'
    this.#helloSentAt = monotonic()
    const signed = { nonce, server_id, agent_id: identity.agent_id, protocol: protocolVersion }
    // Not through `send`: a lease is what this asks for.
    this.#socket.send({
      type: 'hello',
      agent_id: identity.agent_id,
      protocol: protocolVersion,
      boot_id: bootId,
      spool_id: spoolId,
      signature: key.sign(signedHello(signed)),
      report: this.#report,
    })
  }

  #takeInventory({ server_time_ms, epoch }: Extract<ApiMessage, { type: 'welcome' }>): void {
    if (this.#state !== 'welcome') return this.#protocolError()
    const { lease, clock, events, log, time } = this.#parts
    this.#state = 'reconciled'
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => this.terminate('not reconciled in time'), time.leaseMs)
    lease.acknowledged(this.#helloSentAt)
    clock.measure(this.#helloSentAt, server_time_ms)
    log.debug({ epoch }, 'welcome')
    this.send({ type: 'inventory', held: events.held() })
  }

  #open(jobs: Reconciled): void {
    if (this.#state !== 'reconciled') return this.#protocolError()
    this.#state = 'open'
    clearTimeout(this.#deadline)
    this.#reconciledAt = this.#parts.monotonic()
    this.#renewals = setInterval(() => this.#renew(), this.#parts.time.renewEveryMs * renewEarly)
    this.#parts.events.reconciled(this, jobs)
    this.offerCredits()
  }

  #renew(): void {
    this.#sequence += 1
    this.#renewSentAt.set(this.#sequence, this.#parts.monotonic())
    this.send({ type: 'renew', sequence: this.#sequence, held: this.#parts.events.held() })
  }

  #renewed({ sequence, server_time_ms }: Extract<ApiMessage, { type: 'renewed' }>): void {
    const sentAt = this.#renewSentAt.get(sequence)
    if (sentAt === undefined) return
    this.#renewSentAt.delete(sequence)
    this.#parts.lease.acknowledged(sentAt)
    this.#parts.clock.measure(sentAt, server_time_ms)
  }

  /** To the session that asked: another one's API knows nothing of the question. */
  async #answer(question: Question): Promise<void> {
    if (this.#state === 'challenge' || this.#state === 'welcome') return this.#protocolError()
    const answer = await this.#parts.events.answer(question)
    this.send(answer)
  }

  /** Newer APIs may say more. */
  #receiveUnknown(data: unknown): void {
    const { type, job } = (data ?? {}) as { type?: unknown; job?: unknown }
    const claim = assignment.pick({ id: true, fence: true, slot_class: true }).safeParse(job)
    if (type === 'assign' && claim.success)
      this.#parts.events.notUnderstood(claim.data, claim.data.slot_class)
    // To an older agent than the one that began it.
    else if (type === 'reassigned' && claim.success)
      this.#parts.events.received({ type, id: claim.data.id, fence: claim.data.fence, job: null })
    else if (typeof type === 'string' && !apiMessage.options.some((one) => one.shape.type.value === type))
      this.#parts.log.debug({ type: type.slice(0, 64) }, 'a message of an unknown type')
    else this.#protocolError()
  }

  #protocolError(): void {
    this.#socket.close(closeCode.protocolError, 'unexpected message')
  }
}

/** Part of `renewEveryMs` after which we renew: a late timer still keeps it. */
const renewEarly = 0.8

function socketAddress(url: string): URL {
  const address = apiAddress(url, 'agents/connect')
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
  return address
}
