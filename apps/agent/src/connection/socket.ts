import { closeCode, decodeFrame, encodeFrame, sizeLimits, subprotocol } from '@errand/shared'
import type { AgentMessage, TimeConstants } from '@errand/shared'
import type { Socket as Connection } from 'node:net'
import { WebSocket } from 'ws'

export interface SocketEvents {
  message(message: unknown): void
  /** Called once, last of all. `code` is 1006 where the connection just broke; the reason is for logs. */
  closed(code: number, reason: string): void
}

/** One WebSocket to the API that notices when the other side is gone. */
export class Socket {
  readonly #ws: WebSocket
  readonly #events: SocketEvents
  readonly #pings: NodeJS.Timeout
  #connection: Connection | undefined
  #held = false
  #unanswered = 0
  #closed = false

  constructor(url: URL, time: TimeConstants, events: SocketEvents) {
    this.#events = events
    this.#ws = new WebSocket(url, subprotocol, {
      perMessageDeflate: false,
      maxPayload: sizeLimits.frame,
      handshakeTimeout: time.handshakeMs,
      followRedirects: false,
    })
    this.#ws.on('upgrade', (response) => (this.#connection = response.socket))
    // Without a listener one bad frame or refused connection would end the process.
    this.#ws.on('error', (error) => this.#end(1006, error.message))
    this.#ws.on('close', (code, reason) => this.#end(code, reason.toString()))
    this.#ws.on('pong', () => (this.#unanswered = 0))
    this.#ws.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary))
    this.#pings = setInterval(() => this.#ping(), time.pingEveryMs)
  }

  /** `sent` is called once the bytes are with the kernel. */
  send(message: AgentMessage, payload?: Uint8Array, sent?: () => void): void {
    if (this.#closed || this.#ws.readyState !== WebSocket.OPEN) return
    this.#holdForThisTurn()
    this.#ws.send(encodeFrame(message, payload), (error) => {
      if (!error) sent?.()
    })
  }

  /** Says why and is done with it: nothing that still comes is heard. */
  close(code: number, reason: string): void {
    if (this.#closed) return
    this.#ws.close(code, reason)
    this.#end(code, reason)
  }

  /** For a socket that may be dead: waits for nothing. */
  terminate(reason: string): void {
    this.#ws.terminate()
    this.#end(1006, reason)
  }

  /** What one turn sends, such as a result and the slot it leaves free, goes out together: the API wakes up once for it. */
  #holdForThisTurn(): void {
    const connection = this.#connection
    if (this.#held || connection === undefined) return
    this.#held = true
    connection.cork()
    process.nextTick(() => {
      this.#held = false
      connection.uncork()
    })
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#closed) return
    this.#unanswered = 0
    let message: unknown
    try {
      message = decodeFrame(isBinary ? data : data.toString('utf8')).message
    } catch {
      this.close(closeCode.protocolError, 'malformed frame')
      return
    }
    this.#events.message(message)
  }

  #ping(): void {
    if (this.#unanswered >= 2) {
      this.terminate('two pings went unanswered')
      return
    }
    this.#unanswered += 1
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.ping()
  }

  #end(code: number, reason: string): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#pings)
    this.#events.closed(code, reason)
  }
}
