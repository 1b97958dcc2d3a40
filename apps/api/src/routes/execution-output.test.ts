import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte)
/** More than one piece of an answer, and no piece like another. */
const long = Uint8Array.from({ length: 700_001 }, (_, n) => (n * 31 + (n >> 8)) % 256)

async function get(path: string, headers: Record<string, string> = {}, method = 'GET') {
  const answer = await test.request(method, path, { headers })
  return { answer, status: answer.status, bytes: new Uint8Array(await answer.arrayBuffer()) }
}

/** An execution that has written `bytes`, in chunks of 64 KiB before its end where it is long. */
async function ended(bytes: Uint8Array): Promise<string> {
  const agent = await test.connectAgent(1)
  const { id } = await test.submit()
  await expect.poll(() => agent.assigned.length).toBe(1)
  const job = agent.assigned[0]!
  const chunk = 64 * 1024
  let sent = 0
  for (; bytes.length - sent > chunk; sent += chunk)
    await agent.write(job, 'stdout', sent, bytes.subarray(sent, sent + chunk))
  await agent.finish(job, { stdout: bytes, sent })
  agent.leave()
  return `/executions/${id}/stdout`
}

describe('GET /executions/{id}/stdout', () => {
  it('gives every byte value as it was, to be saved and not shown', async () => {
    const { answer, bytes } = await get(await ended(everyByte))
    expect(bytes).toEqual(everyByte)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': '256',
      'content-disposition': expect.stringMatching(/^attachment; filename="[0-9a-f-]+\.stdout"$/),
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'accept-ranges': 'bytes',
    })
  })

  it('gives what is longer than one read, whole and in ranges', async () => {
    const path = await ended(long)
    expect(await get(path)).toMatchObject({ status: 200, bytes: long })
    for (const [start, end] of [
      [0, 1],
      [65_535, 65_538],
      [100_000, 600_000],
      [700_000, 700_001],
    ] as const) {
      const part = await get(path, { range: `bytes=${start}-${end - 1}` })
      expect(part.status).toBe(206)
      expect(part.answer.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${long.length}`)
      expect(part.bytes).toEqual(long.subarray(start, end))
    }
    expect((await get(path, { range: 'bytes=-5' })).bytes).toEqual(long.subarray(-5))
    const outside = await test.request('GET', path, { headers: { range: `bytes=${long.length}-` } })
    expect(outside.status).toBe(416)
    expect(outside.headers.get('content-range')).toBe(`bytes */${long.length}`)
    expect(await problemOf(outside)).toMatchObject({ code: 'range_not_satisfiable' })
  })

  it('tells HEAD the length without the bytes', async () => {
    const head = await get(await ended(everyByte), {}, 'HEAD')
    expect(head.status).toBe(200)
    expect(head.answer.headers.get('content-length')).toBe('256')
    expect(head.bytes).toHaveLength(0)
  })

  it('honours a range only of the version it was asked for', async () => {
    const path = await ended(everyByte)
    const etag = (await get(path)).answer.headers.get('etag')!
    const range = 'bytes=1-2'
    expect(await get(path, { range, 'if-range': etag })).toMatchObject({ status: 206 })
    expect(await get(path, { range, 'if-range': '"other"' })).toMatchObject({ status: 200, bytes: everyByte })
  })

  it('gives what there is so far while it runs, nothing before', async () => {
    const agent = await test.connectAgent(1)
    const { id } = await test.submit()
    await expect.poll(() => agent.assigned.length).toBe(1)
    const job = agent.assigned[0]!
    const path = `/executions/${id}/stdout`
    expect((await get(path)).bytes).toHaveLength(0)
    await agent.start(job)
    await agent.write(job, 'stdout', 0, everyByte)
    const { answer, bytes } = await get(path)
    expect(bytes).toEqual(everyByte)
    expect(answer.headers.get('etag')).toBeNull()
    expect((await get(`/executions/${id}/stderr`)).bytes).toHaveLength(0)
    await agent.finish(job, { stdout: everyByte, sent: 256 })
    agent.leave()
  })

  it('is hidden from other projects', async () => {
    const path = await ended(everyByte)
    expect((await test.request('GET', path, { key: test.keys.stranger })).status).toBe(404)
    expect((await test.request('GET', path, { key: test.keys.viewer })).status).toBe(200)
    expect((await test.request('GET', '/executions/no-uuid/stdout')).status).toBe(404)
  })
})
