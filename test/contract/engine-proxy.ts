import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

export interface EngineProxy {
  readonly socketPath: string
  /** The next request for which this is true is carried out, and its answer lost. */
  loseAnswer(when: (method: string, path: string) => boolean): void
  /** Ends all connections. */
  cut(): void
  close(): void
}

/** A Docker Engine's socket behind one that loses what it is told to lose. */
export async function startEngineProxy(upstream: string): Promise<EngineProxy> {
  const socketPath = `${upstream}.${crypto.randomUUID()}`
  const sockets = new Set<Socket>()
  let loses: ((method: string, path: string) => boolean) | undefined
  const isLost = ({ method, url }: IncomingMessage): boolean => {
    const lost = loses?.(method!, url!) ?? false
    if (lost) loses = undefined
    return lost
  }
  const server = createServer((asked, answer) => {
    const lost = isLost(asked)
    const { method, url: path, headers } = asked
    const onward = request({ socketPath: upstream, method, path, headers }, (answered) => {
      if (lost) answered.resume().on('end', () => asked.socket.destroy())
      else answered.pipe(answer.writeHead(answered.statusCode!, answered.headers))
    })
    onward.on('error', () => asked.socket.destroy())
    asked.pipe(onward)
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
  })
  // An attached stream: everything as it came, from the first line on.
  server.on('upgrade', (asked: IncomingMessage, socket: Socket, head: Buffer) => {
    const onward = connect(upstream)
    const lines = asked.rawHeaders.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`))
    onward.write(`${asked.method} ${asked.url} HTTP/1.1\r\n${lines.join('')}\r\n`)
    onward.write(head)
    onward.pipe(socket).pipe(onward)
    socket.on('close', () => onward.destroy())
    onward.on('close', () => socket.destroy()).on('error', () => {})
  })
  server.listen(socketPath)
  await once(server, 'listening')
  const cut = (): void => sockets.forEach((socket) => socket.destroy())
  return {
    socketPath,
    loseAnswer: (when) => void (loses = when),
    cut,
    close() {
      server.close()
      cut()
    },
  }
}
