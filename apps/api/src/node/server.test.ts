import { once } from 'node:events'
import { connect } from 'node:net'
import { closeCode, scaleTime, sizeLimits, subprotocol } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { AgentSocket } from '../socket/agent-socket.ts'
import { startServer } from './server.ts'

async function server(closing = new AbortController().signal) {
  const sessions: { socket: AgentSocket; frames: (string | Uint8Array)[]; closed: Promise<void> }[] = []
  const running = await startServer({
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    closing,
    time: { ...scaleTime(1), pingEveryMs: 50 },
    fetch: async (request) => new Response(`${request.method} ${new URL(request.url).pathname}`),
    openSession: (socket) => {
      const closed = Promise.withResolvers<void>()
      const frames: (string | Uint8Array)[] = []
      sessions.push({ socket, frames, closed: closed.promise })
      socket.send('{"type":"challenge"}')
      return { message: (data) => frames.push(data), closed: () => closed.resolve() }
    },
  })
  onTestFinished(() => running.close(100))
  return { ...running, sessions, address: `127.0.0.1:${running.port}` }
}

function dial(
  address: string,
  path = '/agents/connect',
  options: { protocol?: string; origin?: string } = {},
) {
  const { protocol = subprotocol, origin } = options
  const ws = new WebSocket(`ws://${address}${path}`, protocol, { ...(origin && { origin }), autoPong: true })
  // Refusals and resets are what some tests are about.
  ws.on('error', () => {})
  onTestFinished(() => ws.terminate())
  return ws
}

it('serves the app and the agents on one port', async () => {
  const { address, sessions } = await server()
  expect(await (await fetch(`http://${address}/x`)).text()).toBe('GET /x')
  const ws = dial(address)
  const [frame] = await once(ws, 'message')
  expect(String(frame)).toBe('{"type":"challenge"}')
  ws.send('text')
  ws.send(new Uint8Array([0, 255]))
  await expect.poll(() => sessions[0]!.frames.length).toBe(2)
  expect(sessions[0]!.frames[0]).toBe('text')
  expect([...(sessions[0]!.frames[1] as Uint8Array)]).toEqual([0, 255])
  ws.close()
  await sessions[0]!.closed
})

it.each([
  ['another path', 404, '/elsewhere', {}],
  ['a browser', 403, '/agents/connect', { origin: 'http://127.0.0.1' }],
  ['another subprotocol', 400, '/agents/connect', { protocol: 'else' }],
])('refuses an upgrade of %s with %i', async (_, status, path, options) => {
  const { address } = await server()
  const [, response] = await once(dial(address, path, options), 'unexpected-response')
  expect(response.statusCode).toBe(status)
})

it('survives an oversize frame, invalid UTF-8 and a reset in the middle of the upgrade', async () => {
  const { address, port, sessions } = await server()
  const large = dial(address)
  await once(large, 'open')
  large.send(new Uint8Array(sizeLimits.frame + 1))
  const [code] = await once(large, 'close')
  expect(code).toBe(closeCode.tooBig)
  const crooked = dial(address)
  await once(crooked, 'open')
  crooked.send(new Uint8Array([0xff, 0xfe]), { binary: false })
  await once(crooked, 'close')
  const raw = connect(port, '127.0.0.1')
  await once(raw, 'connect')
  raw.write('GET /agents/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n')
  raw.resetAndDestroy()
  await Promise.all(sessions.map((one) => one.closed))
  expect(await (await fetch(`http://${address}/still`)).text()).toBe('GET /still')
})

it('ends a socket that answers no ping', async () => {
  const { address, sessions } = await server()
  const ws = dial(address)
  await once(ws, 'open')
  // Nothing is read any more, so nothing is answered.
  ws.pause()
  expect(await sessions[0]!.closed).toBeUndefined()
})

it('ends connections with the answer that they are at, once it is closing', async () => {
  const closing = new AbortController()
  const { address } = await server(closing.signal)
  const connectionOf = async () => (await fetch(`http://${address}/x`)).headers.get('connection')
  expect(await connectionOf()).toBe('keep-alive')
  closing.abort()
  expect(await connectionOf()).toBe('close')
})

it('answers what is under way before it closes', async () => {
  const answer = Promise.withResolvers<Response>()
  const asked = Promise.withResolvers<void>()
  const running = await startServer({
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    closing: new AbortController().signal,
    time: scaleTime(1),
    fetch: () => {
      asked.resolve()
      return answer.promise
    },
    openSession: () => ({ message() {}, closed() {} }),
  })
  const response = fetch(`http://127.0.0.1:${running.port}/`)
  await asked.promise
  const closed = running.close(10_000)
  answer.resolve(new Response('late'))
  expect(await (await response).text()).toBe('late')
  await closed
})
