import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { tieSockets } from './tie-sockets.ts'

/** From the agent, or to it. */
export type Way = 'sent' | 'received'

/** A network between an agent and what it connects to, which a test can cut: every connection passes through it. */
export class Link {
  /** Where a server of HTTP is reached through it. */
  readonly url: string
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #down = false
  /** Bytes from the agent since the last cut, and to it. */
  sent = 0
  received = 0
  #cutAt: { way: Way; byte: number; done: () => void } | undefined

  constructor(server: Server, port: number) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    this.url = `http://127.0.0.1:${this.port}`
    server.on('connection', (near) => this.#join(near, port))
  }

  /** Ends every connection with a reset, mid-frame, and refuses new ones until `restore`. */
  cut(): void {
    this.#down = true
    for (const socket of this.#sockets) socket.resetAndDestroy()
    this.sent = 0
    this.received = 0
  }

  /** Cuts once exactly so many bytes have passed that way since the last cut, and is up again at once. Settles then. */
  cutAt(way: Way, byte: number): Promise<void> {
    return new Promise((done) => (this.#cutAt = { way, byte, done }))
  }

  restore(): void {
    this.#down = false
  }

  async close(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(near: Socket, port: number): void {
    if (this.#down) return void near.resetAndDestroy()
    const far = connect(port, '127.0.0.1')
    tieSockets(near, far, this.#sockets)
    near.pipe(this.#count('sent')).pipe(far)
    far.pipe(this.#count('received')).pipe(near)
  }

  #count(way: Way): Transform {
    return new Transform({
      transform: (bytes: Buffer, _encoding, pass) => {
        const at = this.#cutAt?.way === way ? this.#cutAt : undefined
        const room = at ? Math.max(0, at.byte - this[way]) : bytes.length
        this[way] += bytes.length
        if (!at || bytes.length < room) return pass(null, bytes)
        this.#cutAt = undefined
        pass(null, bytes.subarray(0, room))
        // What was let through is on its way first.
        setImmediate(() => {
          this.cut()
          this.restore()
          at.done()
        })
      },
    })
  }
}

/** A link to the server on `port` of this machine. */
export async function startLink(port: number): Promise<Link> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new Link(server, port)
}
