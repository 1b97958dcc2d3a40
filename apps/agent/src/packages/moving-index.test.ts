import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'
import { addressesOfIndex } from './nearness.ts'
import { Room } from './room.ts'
import { Upstream } from './upstream.ts'

/** What names lead to, by turns; the last one stays. */
const answers: string[][] = []
vi.mock('node:dns', async (original) => ({
  ...(await original<object>()),
  lookup: (_: string, __: object, done: (error: null, found: object[]) => void) => done(null, next()),
}))
vi.mock('node:dns/promises', () => ({ lookup: async () => next() }))

function next(): object[] {
  const [first = []] = answers.length > 1 ? answers.splice(0, 1) : answers
  return first.map((address) => ({ address, family: 4 }))
}

it('stays where it was when its name was first asked for', async () => {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.socket.localAddress!)
    response.end()
  }).listen(0, '0.0.0.0')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const index = new URL(`http://index.example:${port}/`)
  const upstream = new Upstream(index, undefined, 1_000)
  onTestFinished(() => upstream.close())
  answers.push(['127.0.0.1'], ['127.0.0.2'])
  for (const path of ['/a/', '/b/']) {
    const { signal } = new AbortController()
    const room = new Room(1, () => {})
    const headers = { connection: 'close' }
    const { response } = await upstream.get(
      new URL(path, index),
      { accept: '', origin: '', room, signal },
      headers,
    )
    response.resume()
    await once(response, 'end')
  }
  expect(asked).toEqual(['127.0.0.1', '127.0.0.1'])
})

it('is not this host where it is others, too', async () => {
  answers.splice(0, Infinity, ['169.254.169.254', '192.0.2.1', '127.0.0.1', '10.0.0.1'])
  const found = await addressesOfIndex('index.example')
  expect(found.map(({ address }) => address)).toEqual(['192.0.2.1', '10.0.0.1'])
})
