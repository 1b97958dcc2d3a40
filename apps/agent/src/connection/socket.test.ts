import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { timeConstants } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocketServer, type WebSocket } from 'ws'
import { Socket } from './socket.ts'

it('sends in one piece, in order, what one turn says', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const greeted = Promise.withResolvers<void>()
  const socket = new Socket(new URL(`ws://127.0.0.1:${port}`), timeConstants, {
    message: () => greeted.resolve(),
    closed() {},
  })
  onTestFinished(() => socket.terminate('the test is over'))
  const [peer, request] = (await once(server, 'connection')) as [WebSocket, IncomingMessage]
  peer.send('{}')
  await greeted.promise

  let pieces = 0
  request.socket.on('data', () => pieces++)
  const types: string[] = []
  const all = new Promise<void>((resolve) =>
    peer.on('message', (text: Buffer) => {
      if (types.push(JSON.parse(text.toString()).type) === 3) resolve()
    }),
  )
  socket.send({ type: 'credits', run: 1, ssh: 0, maintenance: 0 })
  queueMicrotask(() => socket.send({ type: 'started', id: 'x', fence: 1 }))
  socket.send({ type: 'renew', sequence: 1, held: [] })
  await all
  expect(types).toEqual(['credits', 'renew', 'started'])
  expect(pieces).toBe(1)
})
