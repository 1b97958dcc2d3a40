import { once } from 'node:events'
import {
  decodeFrame,
  encodeFrame,
  protocolVersion,
  signedHello,
  subprotocol,
  type AgentMessage,
  type AgentReport,
  type ApiMessage,
  type Held,
} from '@errand/shared'
import { WebSocket } from 'ws'
import type { Client } from './client.ts'

type Received<Type extends ApiMessage['type']> = Extract<ApiMessage, { type: Type }>

/** Who an agent is that only a test plays. */
export interface ScriptedIdentity {
  agentId: string
  privateKey: CryptoKey
}

export async function enrolScripted(
  client: Client,
  labels: Record<string, string>,
): Promise<ScriptedIdentity> {
  const name = `scripted-${Math.random().toString(36).slice(2, 10)}`
  const { token } = await client.post<{ token: string }>('/enrollment-tokens', { name, labels })
  const keys = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as {
    publicKey: CryptoKey
    privateKey: CryptoKey
  }
  const public_key = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey)).toBase64()
  const { agent_id } = await client.post<{ agent_id: string }>('/agents/enroll', { token, name, public_key })
  return { agentId: agent_id, privateKey: keys.privateKey }
}

/** An agent's end of a socket to a real API, which says what a test wants it to. */
export class ScriptedSocket {
  readonly ws: WebSocket
  /** The code it was closed with. */
  readonly closed: Promise<number>
  readonly #received: ApiMessage[] = []

  constructor(url: string) {
    this.ws = new WebSocket(`${url.replace('http', 'ws')}/agents/connect`, subprotocol)
    // Resets are what some tests are about.
    this.ws.on('error', () => {})
    this.closed = once(this.ws, 'close').then(([code]) => code as number)
    this.ws.on('message', (data, isBinary) => {
      const frame = decodeFrame(isBinary ? (data as Buffer) : (data as Buffer).toString())
      this.#received.push(frame.message as ApiMessage)
      this.ws.emit('received')
    })
  }

  send(message: AgentMessage, payload?: Uint8Array): void {
    this.ws.send(encodeFrame(message, payload))
  }

  /** Takes the oldest message of this type that was not taken yet, waiting for it. @throws when it is closed before */
  async take<Type extends ApiMessage['type']>(type: Type): Promise<Received<Type>> {
    for (;;) {
      const at = this.#received.findIndex((one) => one.type === type)
      if (at >= 0) return this.#received.splice(at, 1)[0] as Received<Type>
      const closed = await Promise.race([this.closed, once(this.ws, 'received')])
      if (typeof closed === 'number') throw new Error(`closed with ${closed} before a message ${type}`)
    }
  }

  /** To the point where it may say what it likes. What it held is kept, or not, as `reconciled` tells. */
  async open({ agentId, privateKey }: ScriptedIdentity, held: Held[] = []): Promise<Received<'reconciled'>> {
    const { nonce, server_id } = await this.take('challenge')
    const signed = signedHello({ nonce, server_id, agent_id: agentId, protocol: protocolVersion })
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', privateKey, signed)).toBase64()
    this.send({
      type: 'hello',
      agent_id: agentId,
      protocol: protocolVersion,
      boot_id: 'boot',
      spool_id: 'spool',
      signature,
      report,
    })
    await this.take('welcome')
    this.send({ type: 'inventory', held })
    return this.take('reconciled')
  }
}

const report: AgentReport = {
  hostname: 'scripted',
  version: '0',
  platform: 'none',
  backends: { localhost: { available: true, isolation: null, missing: [] } },
  runtimes: {},
  slots: { run: 1, ssh: 0, maintenance: 0 },
}
