import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { agentMessage, decodeFrame, encodeFrame, enrollment, signedHello, subprotocol } from '@errand/shared'
import type { AgentMessage, ApiMessage, Assignment, Offsets, RunResult, Stream } from '@errand/shared'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import { claimKey } from '../claim.ts'

export type From<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>

interface Stored {
  stdout: Buffer
  stderr: Buffer
  result: RunResult | undefined
  finishes: number
}

/**
 * The API's side of the socket, as far as an agent can tell: it speaks the shared protocol, checks signatures, order,
 * totals and checksums like the real one, keeps what it was sent, and lets a test interfere at every point.
 */
export class ScriptedApi {
  serverId = randomUUID()
  /** Everything the agent said, in order. */
  readonly messages: AgentMessage[] = []
  readonly stored = new Map<string, Stored>()
  readonly inputs = new Map<string, Buffer>()
  readonly #http: Server
  readonly #sockets: WebSocketServer
  readonly #changed = new Set<() => void>()
  readonly #assigned = new Map<string, Assignment>()
  readonly #publicKeys = new Map<string, string>()
  socket: WebSocket | undefined
  sessions = 0
  /** The codes with which sockets ended. */
  readonly closes: number[] = []
  credits = 0
  /** Answers an agent's message in place of the API when it returns true. */
  interfere: (message: AgentMessage, payload: Uint8Array, socket: WebSocket) => boolean = () => false
  /** What `reconciled` says of a held job. */
  verdictOf: (held: From<'inventory'>['held'][number]) => { verdict: 'keep' | 'drop'; cancel: boolean } = ({
    agent_died,
  }) => ({
    verdict: agent_died ? 'drop' : 'keep',
    cancel: false,
  })
  /** Refuses HTTP requests and upgrades while set. */
  away = false
  /** The enrolments it got, and the status it answers. */
  enrolments: unknown[] = []
  enrolStatus = 201
  inputRequests = 0

  /** With `deaf` it answers no pings. */
  constructor({ deaf = false } = {}) {
    this.#sockets = new WebSocketServer({ noServer: true, autoPong: !deaf })
    this.#http = createServer((request, response) => this.#serve(request, response))
    this.#http.on('upgrade', (request, socket, head) => {
      socket.on('error', () => {})
      if (this.away) socket.destroy()
      else this.#sockets.handleUpgrade(request, socket, head, (ws) => this.#accept(ws))
    })
  }

  async listen(port = 0): Promise<string> {
    this.#http.listen(port, '127.0.0.1')
    await once(this.#http, 'listening')
    return this.url
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`
  }

  /** Knows an agent without enrolment. */
  know(publicKey: string, agentId = randomUUID()): { agent_id: string; name: string; server_id: string } {
    this.#publicKeys.set(agentId, publicKey)
    return { agent_id: agentId, name: 'test', server_id: this.serverId }
  }

  async close(): Promise<void> {
    for (const ws of this.#sockets.clients) ws.terminate()
    this.#http.closeAllConnections()
    const closed = once(this.#http, 'close')
    this.#http.close()
    this.#happened()
    await closed
  }

  say(message: ApiMessage, socket = this.socket): void {
    socket?.send(encodeFrame(message))
  }

  assign(job: Assignment): Assignment {
    this.#assigned.set(claimKey(job), job)
    this.credits -= 1
    this.say({ type: 'assign', job })
    return job
  }

  of<Type extends AgentMessage['type']>(type: Type): From<Type>[] {
    return this.messages.filter((one): one is From<Type> => one.type === type)
  }

  /** Waits until `what` holds, looking again at each thing that happens here. */
  async until<T>(what: () => T | undefined | false): Promise<T> {
    for (;;) {
      const value = what()
      if (value !== undefined && value !== false) return value
      // Lets a test that gave up leave, and so clean up.
      if (!this.#http.listening) throw new Error('the scripted API is closed')
      await new Promise<void>((resolve) => {
        this.#changed.add(resolve)
      })
    }
  }

  /** The result of a claim, once it is stored. */
  result(job: { id: string; fence: number }): Promise<RunResult & { text: string }> {
    return this.until(() => {
      const stored = this.stored.get(`${job.id}/${job.fence}`)
      return stored?.result && { ...stored.result, text: stored.stdout.toString() }
    })
  }

  #accept(ws: WebSocket): void {
    const nonce = randomUUID()
    ws.on('error', () => {})
    ws.on('close', (code) => {
      this.closes.push(code)
      this.#happened()
    })
    ws.on('message', (data, isBinary) => {
      const frame = decodeFrame(isBinary ? (data as Buffer) : (data as Buffer).toString())
      const message = agentMessage.parse(frame.message)
      this.messages.push(message)
      if (!this.interfere(message, frame.payload, ws)) this.#answer(message, frame.payload, nonce, ws)
      this.#happened()
    })
    if (ws.protocol !== subprotocol) ws.close(1002)
    else this.say({ type: 'challenge', nonce, server_id: this.serverId }, ws)
  }

  #answer(message: AgentMessage, payload: Uint8Array, nonce: string, ws: WebSocket): void {
    switch (message.type) {
      case 'hello':
        return this.#welcome(message, nonce, ws)
      case 'inventory': {
        const jobs = message.held.map((held) => ({
          id: held.id,
          fence: held.fence,
          ...this.verdictOf(held),
          offsets: this.#offsets(this.#of(held)),
        }))
        return this.say({ type: 'reconciled', jobs }, ws)
      }
      case 'credits':
        this.credits += message.run
        return
      case 'renew':
        return this.say({ type: 'renewed', sequence: message.sequence, server_time_ms: Date.now() }, ws)
      case 'reassign': {
        const job = this.#assigned.get(claimKey(message)) ?? null
        return this.say({ type: 'reassigned', id: message.id, fence: message.fence, job }, ws)
      }
      case 'started':
      case 'checked':
      case 'host_key_seen':
      case 'progress':
      case 'stock':
        return
      case 'output':
        return this.say(this.store(message, payload), ws)
      case 'finish':
        return this.say(this.finish(message, payload), ws)
      case 'return':
      case 'lock':
        return this.say({ type: 'returned', id: message.id, fence: message.fence, verdict: 'stored' }, ws)
    }
  }

  #welcome(message: From<'hello'>, nonce: string, ws: WebSocket): void {
    const publicKey = this.#publicKeys.get(message.agent_id)
    const signed = { nonce, server_id: this.serverId, agent_id: message.agent_id, protocol: message.protocol }
    if (
      !publicKey ||
      !verify(null, signedHello(signed), ed25519(publicKey), Buffer.from(message.signature, 'base64'))
    ) {
      ws.close(4003, 'unknown')
      return
    }
    this.socket = ws
    this.credits = 0
    this.sessions += 1
    this.say({ type: 'welcome', epoch: this.sessions, protocol: 1, server_time_ms: Date.now() }, ws)
  }

  store({ id, fence, stream, offset }: From<'output'>, payload: Uint8Array): ApiMessage {
    const stored = this.#of({ id, fence })
    if (offset <= stored[stream].length)
      stored[stream] = Buffer.concat([stored[stream].subarray(0, offset), payload])
    return { type: 'output_stored', id, fence, stream, verdict: 'stored', next_offset: stored[stream].length }
  }

  finish({ id, fence, inline, result }: From<'finish'>, payload: Uint8Array): ApiMessage {
    const stored = this.#of({ id, fence })
    stored.finishes += 1
    if (stored.result) return { type: 'finished', id, fence, verdict: 'already' }
    const stdout = Buffer.concat([stored.stdout, payload.subarray(0, inline.stdout)])
    const stderr = Buffer.concat([stored.stderr, payload.subarray(inline.stdout)])
    if (!fits(stdout, result, 'stdout') || !fits(stderr, result, 'stderr'))
      return { type: 'finished', id, fence, verdict: 'incomplete', offsets: this.#offsets(stored) }
    Object.assign(stored, { stdout, stderr, result })
    return { type: 'finished', id, fence, verdict: 'stored' }
  }

  #of({ id, fence }: { id: string; fence: number }): Stored {
    const key = `${id}/${fence}`
    const known = this.stored.get(key)
    if (known) return known
    const made = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), result: undefined, finishes: 0 }
    this.stored.set(key, made)
    return made
  }

  #offsets(stored: Stored): Offsets {
    return { stdout: stored.stdout.length, stderr: stored.stderr.length }
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.away) {
      request.socket.destroy()
      return
    }
    const input = /^\/agents\/work\/([^/]+)\/input$/.exec(request.url ?? '')
    if (input) {
      this.inputRequests += 1
      const bytes = this.inputs.get(`${input[1]} ${request.headers.authorization}`)
      response.writeHead(bytes ? 200 : 401).end(bytes)
      this.#happened()
      return
    }
    void this.#enrol(request, response)
  }

  async #enrol(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = enrollment.parse(JSON.parse(Buffer.concat(chunks).toString()))
    this.enrolments.push(body)
    response.writeHead(this.enrolStatus, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ ...this.know(body.public_key), name: body.name }))
    this.#happened()
  }

  #happened(): void {
    for (const resolve of this.#changed) resolve()
    this.#changed.clear()
  }
}

function fits(bytes: Buffer, result: RunResult, stream: Stream): boolean {
  const totals = result[stream]
  return bytes.length === totals.stored && createHash('sha256').update(bytes).digest('hex') === totals.sha256
}

function ed25519(raw: string): ReturnType<typeof createPublicKey> {
  const prefix = Buffer.from('302a300506032b6570032100', 'hex')
  return createPublicKey({
    key: Buffer.concat([prefix, Buffer.from(raw, 'base64')]),
    format: 'der',
    type: 'spki',
  })
}
