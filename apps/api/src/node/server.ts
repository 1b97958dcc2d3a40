import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { createAdaptorServer } from '@hono/node-server'
import { closeCode, sizeLimits, subprotocol, type TimeConstants } from '@errand/shared'
import { WebSocketServer, type WebSocket } from 'ws'
import type { AgentSocket, SocketEvents } from '../socket/agent-socket.ts'

export interface ServerOptions {
  host: string
  port: number
  tls: { certFile: string; keyFile: string } | undefined
  time: TimeConstants
  /** Once aborted, every connection ends with the answer that it is at. */
  closing: AbortSignal
  fetch: (request: Request, env: object) => Response | Promise<Response>
  openSession: (socket: AgentSocket) => SocketEvents
}

export interface RunningServer {
  /** The port it got, where 0 was asked for. */
  port: number
  /** Takes no more; resolves when every request under way has been answered, at the latest after `withinMs`. */
  close(withinMs: number): Promise<void>
}

/** The app and the agents' sockets on a Node server. Rejects with the system's error when it cannot listen. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { tls, host, port } = options
  const server = createAdaptorServer({
    fetch: options.fetch,
    hostname: host,
    createServer: tls ? createHttpsServer : createHttpServer,
    serverOptions: {
      ...slowClientLimits,
      ...(tls && { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) }),
    },
  }) as Server
  server.prependListener('request', (_request, response) => {
    // The next request shall go to another replica.
    if (options.closing.aborted) response.shouldKeepAlive = false
  })
  const sockets = acceptAgents(server, options)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : port,
    async close(withinMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets.clients) socket.close(closeCode.restarting)
      // A connection that has had its answer is kept alive for a next request; there is none.
      const idle = setInterval(() => server.closeIdleConnections(), 50)
      const force = setTimeout(() => {
        server.closeAllConnections()
        for (const socket of sockets.clients) socket.terminate()
      }, withinMs)
      await closed
      clearInterval(idle)
      clearTimeout(force)
    },
  }
}

/** Whoever sends headers or a body by drops does not hold a connection for long. Milliseconds. */
const slowClientLimits = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: 16_384,
}

function acceptAgents(server: Server, { openSession, time }: ServerOptions): WebSocketServer {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: sizeLimits.frame,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(subprotocol) ? subprotocol : false),
  })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const refusal = refuse(request)
    if (refusal !== undefined) return endUpgrade(socket, refusal)
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const events = openSession(agentSocket(ws))
      // Without a listener one oversize frame would be an uncaught exception. `ws` has said why by then.
      ws.on('error', () => {
        events.closed()
        endSoon(ws)
      })
      ws.on('close', () => events.closed())
      ws.on('message', (data, isBinary) =>
        events.message(isBinary ? (data as Buffer) : (data as Buffer).toString()),
      )
      endWhenSilent(ws, time.pingEveryMs)
    })
  })
  return sockets
}

/** Browsers always send an Origin, agents never do. */
function refuse(request: IncomingMessage): string | undefined {
  if (request.url?.split('?')[0] !== '/agents/connect') return '404 Not Found'
  if (request.headers.origin !== undefined) return '403 Forbidden'
  const offered = request.headers['sec-websocket-protocol']?.split(',').map((one) => one.trim())
  return offered?.includes(subprotocol) ? undefined : '400 Bad Request'
}

function endUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

function agentSocket(ws: WebSocket): AgentSocket {
  return {
    send: (frame) => {
      // A reader that takes nothing for so long is ended: it finds all of it again after its reconnect.
      if (ws.bufferedAmount > sizeLimits.socketBuffer) ws.terminate()
      else if (ws.readyState === ws.OPEN) ws.send(frame)
    },
    close: (code, reason) => {
      ws.close(code, reason)
      endSoon(ws)
    },
    pause: () => ws.pause(),
    resume: () => ws.resume(),
    get bufferedAmount() {
      return ws.bufferedAmount
    },
  }
}

/** A socket that is closing and whose other side does not answer. */
function endSoon(ws: WebSocket): void {
  setTimeout(() => ws.terminate(), 2_000).unref()
}

/** Two pings without any answer end the socket: a half-open connection stays open for ever otherwise. */
function endWhenSilent(ws: WebSocket, pingEveryMs: number): void {
  let misses = 0
  const timer = setInterval(() => {
    if (misses === 2) return ws.terminate()
    misses += 1
    ws.ping()
  }, pingEveryMs)
  const heard = () => {
    misses = 0
  }
  ws.on('pong', heard)
  ws.on('message', heard)
  ws.on('ping', heard)
  ws.on('close', () => clearInterval(timer))
}
