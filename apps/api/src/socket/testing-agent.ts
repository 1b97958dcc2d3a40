import {
  decodeFrame,
  encodeFrame,
  protocolVersion,
  signedHello,
  type AgentMessage,
  type AgentReport,
  type ApiMessage,
} from '@errand/shared'
import type { AgentSocket, SocketEvents } from './agent-socket.ts'

type Received<Type extends ApiMessage['type']> = Extract<ApiMessage, { type: Type }>

/** The agent's end of a session in a test: it signs with a real key, and keeps what it was sent. */
export class TestingAgent {
  readonly received: ApiMessage[] = []
  closed: { code: number; reason: string } | undefined
  paused = false
  events!: SocketEvents
  readonly #waiting = new Set<() => void>()

  readonly socket: AgentSocket = {
    bufferedAmount: 0,
    send: (frame) => {
      this.received.push(decodeFrame(frame).message as ApiMessage)
      this.#changed()
    },
    close: (code, reason) => {
      this.closed ??= { code, reason }
      this.#changed()
    },
    pause: () => {
      this.paused = true
    },
    resume: () => {
      this.paused = false
    },
  }

  send(message: AgentMessage, payload?: Uint8Array): void {
    this.events.message(encodeFrame(message, payload))
  }

  /** Takes the oldest message of this type that was not taken yet, waiting for it. Fails when the session closes. */
  async take<Type extends ApiMessage['type']>(type: Type): Promise<Received<Type>> {
    for (;;) {
      const at = this.received.findIndex((one) => one.type === type)
      if (at >= 0) return this.received.splice(at, 1)[0] as Received<Type>
      if (this.closed) throw new Error(`closed: ${this.closed.code} ${this.closed.reason}`)
      await this.#change()
    }
  }

  async closing(): Promise<{ code: number; reason: string }> {
    while (!this.closed) await this.#change()
    return this.closed
  }

  async hello(given: {
    agentId: string
    privateKey: CryptoKey
    report: AgentReport
    protocol?: number
    /** Signs this in place of the nonce it was given. */
    nonce?: string
    bootId?: string
  }): Promise<void> {
    const challenge = await this.take('challenge')
    const { agentId: agent_id, protocol = protocolVersion, nonce = challenge.nonce } = given
    const signed = signedHello({ nonce, server_id: challenge.server_id, agent_id, protocol })
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', given.privateKey, signed)).toBase64()
    const { bootId: boot_id = 'boot', report } = given
    this.send({ type: 'hello', agent_id, protocol, boot_id, spool_id: 'spool', signature, report })
  }

  #changed(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve))
  }
}
