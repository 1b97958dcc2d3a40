import { once } from 'node:events'
import { type AddressInfo, type Socket, connect } from 'node:net'
import { type ServerType, serve } from '@hono/node-server'
import { sizeLimits } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestApp, openTestApp } from '../routes/test-app.ts'

let test: TestApp
let server: ServerType
beforeAll(async () => {
  test = await openTestApp()
  server = serve({ fetch: test.app.fetch, port: 0, hostname: '127.0.0.1' })
  await once(server, 'listening')
})
afterAll(async () => {
  server?.close()
  await test?.close()
})

/** Sends the head of a submit, and what of its body is given. */
async function open(headers: string[], body = ''): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  const lines = [
    'POST /executions HTTP/1.1',
    'Host: localhost',
    `Authorization: Bearer ${test.keys.admin}`,
    'Content-Type: application/json',
    ...headers,
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`)
  const answer = new Promise<string>((resolve) => {
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => (text += chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
  return { socket, answer }
}

const body = JSON.stringify({ executor: 'local_python', code: 'pass' })

describe('on a real connection', () => {
  it('lets go of everything when a caller leaves while waiting', async () => {
    const { socket } = await open(['Prefer: wait=60', `Content-Length: ${body.length}`], body)
    await expect.poll(() => test.parts.live.listeners).toBe(1)
    socket.destroy()
    await expect.poll(() => test.parts.live.listeners).toBe(0)
  })

  it('refuses a body by its length before it comes, and closes', async () => {
    const { answer } = await open([`Content-Length: ${sizeLimits.body + 1}`])
    expect(await answer).toMatch(/^HTTP\/1.1 413 [\s\S]*connection: close[\s\S]*too_large/i)
  })

  it('refuses an endless body', async () => {
    const { socket, answer } = await open(['Transfer-Encoding: chunked'])
    const chunk = `100000\r\n${' '.repeat(0x10_00_00)}\r\n`
    const flood = () => {
      while (!socket.destroyed && socket.write(chunk));
    }
    socket.on('drain', flood)
    flood()
    expect(await answer).toMatch(/^HTTP\/1.1 413 /)
  })

  it('answers while others hold their bodies back', async () => {
    const held = await Promise.all(Array.from({ length: 50 }, () => open(['Content-Length: 100'], '{')))
    expect((await test.request('GET', '/version')).status).toBe(200)
    const { socket, answer } = await open([`Content-Length: ${body.length}`, 'Connection: close'], body)
    expect(await answer).toMatch(/^HTTP\/1.1 202 /)
    for (const one of [...held.map((each) => each.socket), socket]) one.destroy()
  })

  it('stores nothing of a body that broke off', async () => {
    const before = await stored()
    const { socket, answer } = await open([`Content-Length: ${body.length + 1}`], body)
    socket.end()
    expect(await answer).not.toMatch(/^HTTP\/1.1 2/)
    expect(await stored()).toBe(before)
  })
})

async function stored(): Promise<number> {
  const [row] = await test.parts.db.query<{ n: number }>('select count(*)::int as n from jobs')
  return row!.n
}
