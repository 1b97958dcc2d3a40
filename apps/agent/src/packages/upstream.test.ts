import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { Room } from './room.ts'
import { Upstream } from './upstream.ts'

it('asks nothing nearer to this host than the index is, whatever its pages name', async () => {
  let asked = 0
  const server = createServer((_, response) => void response.end(String((asked += 1)))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const get = async (index: string, file: string) => {
    const upstream = new Upstream(new URL(index), undefined, 1_000)
    onTestFinished(() => upstream.close())
    const url = new URL(file)
    expect(upstream.name(url)).toBe(true)
    const { signal } = new AbortController()
    const { response } = await upstream.get(
      url,
      { accept: '', origin: '', room: new Room(1, () => {}), signal },
      {},
    )
    response.destroy()
  }
  for (const index of ['http://192.0.2.1/', 'https://10.0.0.1/'])
    for (const host of ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]'])
      await expect(get(index, `http://${host}:${port}/secret`)).rejects.toThrow(
        'nearer to this host than the index',
      )
  expect(asked).toBe(0)
  await get('http://127.0.0.1:1/', `http://localhost:${port}/file`)
  expect(asked).toBe(1)
})
