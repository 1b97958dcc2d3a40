import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { type ServerType, serve } from '@hono/node-server'
import type { ExecutionEvents, ExecutionRecord } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cancel } from '../store/cancel.ts'
import { openTestApp, type TestApp } from './test-app.ts'
import { isEnd, readEvents, type ServerSentEvent } from './test-event-reader.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

const read = (id: string, enough?: (events: ServerSentEvent[]) => boolean, lastEventId?: string) =>
  readEvents(test, `/executions/${id}/events`, { ...(enough && { enough }), lastEventId })

const outputs = (events: ServerSentEvent[]) =>
  events.filter(({ event }) => event === 'output').map(({ data }) => data as ExecutionEvents['output'])

function bytesOf(events: ServerSentEvent[]): number[] {
  return outputs(events).flatMap(({ base64 }) => [...Uint8Array.fromBase64(base64)])
}

const bytes = Uint8Array.from({ length: 1_000 }, (_, n) => n % 256)

async function running() {
  const agent = await test.connectAgent(1)
  const { id } = await test.submit()
  await expect.poll(() => agent.assigned.length).toBe(1)
  const job = agent.assigned[0]!
  return { agent, id, job }
}

describe('GET /executions/{id}/events', () => {
  it('tells status and output as they happen, and ends with the record', async () => {
    const { agent, id, job } = await running()
    const reading = read(id, isEnd)
    await expect.poll(() => test.parts.live.listeners).toBe(1)
    await agent.start(job)
    await agent.write(job, 'stdout', 0, bytes.subarray(0, 300))
    await agent.write(job, 'stderr', 0, bytes.subarray(0, 7))
    await agent.write(job, 'stdout', 300, bytes.subarray(300, 600))
    await agent.finish(job, { stdout: bytes, sent: 600, result: { stderr: await stderrTotals() } })
    const { answer, events } = await reading
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    expect(answer.headers.get('x-accel-buffering')).toBe('no')
    const stdout = outputs(events).filter(({ stream }) => stream === 'stdout')
    expect(stdout.flatMap(({ base64 }) => [...Uint8Array.fromBase64(base64)])).toEqual([...bytes])
    expect(outputs(events).every(({ attempt }) => attempt === 1)).toBe(true)
    const statuses = events
      .filter(({ event }) => event === 'status')
      .map(({ data }) => data as ExecutionEvents['status'])
    expect(statuses.at(-1)).toMatchObject({ id, status: 'running', attempt: 1 })
    expect(events.at(-1)!.data).toEqual(await (await test.request('GET', `/executions/${id}`)).json())
    await expect.poll(() => test.parts.live.listeners).toBe(0)
    agent.leave()

    async function stderrTotals() {
      const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice(0, 7))).toHex()
      return { bytes: 7, stored: 7, truncated: false, sha256 }
    }
  })

  it('resumes exactly after each event, while it runs and when it has ended', async () => {
    const { agent, id, job } = await running()
    await agent.start(job)
    await agent.write(job, 'stdout', 0, bytes.subarray(0, 400))
    const first = await read(id, (events) => outputs(events).length > 0)
    await agent.write(job, 'stdout', 400, bytes.subarray(400, 700))
    const second = await read(id, (events) => outputs(events).length > 0, first.events.at(-1)!.id)
    await agent.finish(job, { stdout: bytes, sent: 700 })
    const third = await read(id, isEnd, second.events.at(-1)!.id)
    const all = [...first.events, ...second.events, ...third.events]
    expect(bytesOf(all)).toEqual([...bytes])
    expect(outputs(all).map(({ offset }) => offset)).toEqual([0, 400, 700])
    expect(all.filter(({ event }) => event === 'status')).toHaveLength(1)

    // From any earlier place the rest comes again, without a gap
    for (const [index, { id: eventId }] of first.events.entries()) {
      const rest = await read(id, isEnd, eventId)
      expect(bytesOf([...first.events.slice(0, index + 1), ...rest.events])).toEqual([...bytes])
    }
    agent.leave()
  })

  it('sends away who has seen the end', async () => {
    const { agent, id, job } = await running()
    await agent.finish(job)
    const { events } = await read(id)
    expect((await read(id, undefined, events.at(-1)!.id)).answer.status).toBe(204)
    agent.leave()
  })

  it('follows what only the store knows', async () => {
    const { id } = await test.submit()
    const reading = read(id)
    await expect.poll(() => test.parts.live.listeners).toBe(1)
    await cancel(test.parts.db, { id, project: null })
    const { events } = await reading
    expect((events.at(-1)!.data as ExecutionRecord).status).toBe('canceled')
  })

  it('ends, to be resumed elsewhere, when this replica goes down', async () => {
    const own = await openTestApp()
    try {
      const { id } = await own.submit()
      const answer = await own.request('GET', `/executions/${id}/events`)
      const text = answer.text()
      await expect.poll(() => own.parts.live.listeners).toBe(1)
      own.closing.abort()
      expect(await text).not.toContain('event: end')
      // Who still comes here is not kept either.
      const late = await own.request('GET', `/executions/${id}/events`)
      expect(await late.text()).toBe('retry: 1000\n\n')
      expect(own.parts.live.listeners).toBe(0)
    } finally {
      await own.close()
    }
  })

  it('refuses what is no id of an event, and hides other projects', async () => {
    const { id } = await test.submit()
    for (const lastEventId of ['x', '1-1-1-1-nothing-1', '1-1-1-1-running', '-1-0-0-0-none-0'])
      expect((await read(id, undefined, lastEventId)).answer.status).toBe(400)
    expect((await test.request('GET', `/executions/${id}/events`, { key: test.keys.stranger })).status).toBe(
      404,
    )
  })

  describe('to a reader on a real connection', () => {
    let server: ServerType
    beforeAll(async () => {
      server = serve({ fetch: test.app.fetch, port: 0, hostname: '127.0.0.1' })
      await once(server, 'listening')
    })
    afterAll(() => {
      server.close()
    })

    it('lets go of everything when the reader leaves', async () => {
      const { id } = await test.submit()
      const { port } = server.address() as AddressInfo
      const socket = connect(port, '127.0.0.1')
      socket.write(
        `GET /executions/${id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${test.keys.admin}\r\n\r\n`,
      )
      await expect.poll(() => test.parts.live.listeners).toBe(1)
      socket.destroy()
      await expect.poll(() => test.parts.live.listeners).toBe(0)
    })

    it('NET-10: holds little for a reader that takes nothing, and slows nobody', async () => {
      const { agent, id, job } = await running()
      const { port } = server.address() as AddressInfo
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.pause()
      socket.write(
        `GET /executions/${id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${test.keys.admin}\r\n\r\n`,
      )
      await expect.poll(() => test.parts.live.listeners).toBe(1)
      const chunk = new Uint8Array(16 * 1024).fill(65)
      for (let n = 0; n < 60; n++) await agent.write(job, 'stdout', n * chunk.length, chunk)
      await agent.finish(job, { stdout: new Uint8Array(60 * chunk.length).fill(65), sent: 60 * chunk.length })
      const record = (await (await test.request('GET', `/executions/${id}`)).json()) as ExecutionRecord
      expect(record).toMatchObject({ status: 'completed', stdout_bytes: 60 * chunk.length })
      socket.destroy()
      await expect.poll(() => test.parts.live.listeners).toBe(0)
      agent.leave()
    })
  })
})
