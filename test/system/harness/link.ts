import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** A network between an agent and what it connects to, which a test can cut: every connection passes through it. */
export class Link {
  /** Where a server of HTTP is reached through it. */
  readonly url: string
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #down = false
  /** Bytes from the agent since the last cut. */
  sent = 0

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
    near.on('data', (bytes: Buffer) => {
      this.sent += bytes.length
    })
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
  }
}

/** A link to the server on `port` of this machine. */
export async function startLink(port: number): Promise<Link> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new Link(server, port)
}
