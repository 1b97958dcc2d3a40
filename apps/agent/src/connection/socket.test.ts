import { once } from 'node:events'
import { Socket as Connection, type AddressInfo } from 'node:net'
import { timeConstants } from '@errand/shared'
import { expect, it, onTestFinished, vi } from 'vitest'
import { WebSocketServer, type WebSocket } from 'ws'
import { Socket } from './socket.ts'

it('sends in one piece, in order, what one turn says', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const greeted = Promise.withResolvers<void>()
  const socket = new Socket(new URL(`ws://127.0.0.1:${port}`), timeConstants, {
    message: () => greeted.resolve(),
    closed() {},
  })
  onTestFinished(() => socket.terminate('the test is over'))
  const [peer] = (await once(server, 'connection')) as [WebSocket]
  peer.send('{}')
  await greeted.promise

  // Each is one system call.
  const writes = (['_write', '_writev'] as const).map((one) => vi.spyOn(Connection.prototype, one))
  onTestFinished(() => writes.forEach((one) => one.mockRestore()))
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
  expect(writes.flatMap((one) => one.mock.calls)).toHaveLength(1)
})

it.each(['close', 'terminate'] as const)('hears nothing more after %s, though it has come', async (how) => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const heard: unknown[] = []
  const closed = Promise.withResolvers<void>()
  const socket: Socket = new Socket(new URL(`ws://127.0.0.1:${port}`), timeConstants, {
    message(message) {
      heard.push(message)
      if (how === 'close') socket.close(1000, 'enough')
      else socket.terminate('enough')
    },
    closed: () => closed.resolve(),
  })
  const [peer] = (await once(server, 'connection')) as [WebSocket]
  peer.on('error', () => {})
  const gone = once(peer, 'close')
  // In one piece: all are there when the first is heard.
  for (let number = 0; number < 3; number++) peer.send(JSON.stringify({ number }))
  await closed.promise
  await gone
  expect(heard).toEqual([{ number: 0 }])
})
