import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a registry's front does to what goes through; nothing at first. To be changed at any time. */
export interface RegistryFaults {
  /** Of each layer, how many bytes a second it sends at most. */
  bytesPerSec?: number | undefined
  /** Of each answer, after how many bytes the connection is cut. */
  cutAfter?: number | undefined
  /** Answers in the registry's place, where it returns an answer. */
  instead?: ((method: string, path: string) => Answer | undefined) | undefined
}

export interface Answer {
  status: number
  headers?: OutgoingHttpHeaders
  body?: string
}

/** Listens on a socket in a registry's place, and hands on what it is asked. */
export async function startRegistryFront(
  socketPath: string,
  upstream: string,
): Promise<{ faults: RegistryFaults; sending: () => number; close: () => void }> {
  const faults: RegistryFaults = {}
  let sending = 0
  const sockets = new Set<Socket>()
  const handOn = (asked: IncomingMessage, answer: ServerResponse): void => {
    const { method, url: path, headers } = asked
    const onward = request({ socketPath: upstream, method, path, headers }, (answered) => {
      sending += 1
      answer.on('close', () => (sending -= 1))
      answer.writeHead(answered.statusCode!, answered.headers)
      pipeline(
        answered,
        (bytes) => paced(bytes, faults),
        answer,
        () => {},
      )
    })
    onward.on('error', () => asked.socket.destroy())
    asked.pipe(onward)
  }
  const server = createServer((asked, answer) => {
    const given = faults.instead?.(asked.method!, asked.url!)
    if (given) answer.writeHead(given.status, given.headers).end(given.body)
    else handOn(asked, answer)
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
  })
  server.listen(socketPath)
  await once(server, 'listening')
  return {
    faults,
    sending: () => sending,
    close() {
      server.close()
      sockets.forEach((socket) => socket.destroy())
    },
  }
}

/** In pieces small enough that a slow one still comes often. */
async function* paced(body: AsyncIterable<Buffer>, faults: RegistryFaults): AsyncGenerator<Buffer> {
  let sent = 0
  for await (const chunk of body)
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      const piece = chunk.subarray(at, at + pieceBytes)
      sent += piece.length
      if (sent > (faults.cutAfter ?? Infinity)) throw new Error('cut')
      if (faults.bytesPerSec !== undefined) await sleep((piece.length / faults.bytesPerSec) * 1_000)
      yield piece
    }
}

const pieceBytes = 8_192
