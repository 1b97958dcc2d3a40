import {
  type ExecutionRecord,
  type ExecutionSummary,
  type Page,
  executionRecord,
  executionSummary,
} from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LiveEvent } from '../live/live.ts'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

async function list(query = '', key = test.keys.admin) {
  const answer = await test.request('GET', `/executions${query}`, { key })
  return { answer, status: answer.status, page: (await answer.json()) as Page<ExecutionSummary> }
}

const ids = (page: Page<ExecutionSummary>) => page.data.map(({ id }) => id)

describe('GET /executions', () => {
  it('lists the newest first, page by page, each once', async () => {
    const labels = { list: crypto.randomUUID() }
    const submitted: string[] = []
    for (let n = 0; n < 7; n++) submitted.push((await test.submit({ labels })).id)
    const seen: string[] = []
    let next: string | null = `/executions?label=list%3D${labels.list}&limit=3&count=true`
    while (next !== null) {
      const answer = await test.request('GET', next)
      const page = (await answer.json()) as Page<ExecutionSummary>
      expect(page.total).toBe(7)
      expect(page.data.length).toBeLessThanOrEqual(3)
      seen.push(...ids(page))
      const link: string | undefined = /^<(.*)>; rel="next"$/.exec(answer.headers.get('link') ?? '')?.[1]
      expect(link === undefined).toBe(page.next_cursor === null)
      next = link ?? null
    }
    expect(seen).toEqual(submitted.toReversed())
  })

  it('has rows without output, as the contract says', async () => {
    await test.submit()
    const { page } = await list('?limit=1')
    expect(() => executionSummary.parse(page.data[0])).not.toThrow()
  })

  it('filters', async () => {
    const labels = { filter: crypto.randomUUID() }
    const one = await test.submit({ labels })
    const other = await test.submit({ labels, executor: 'docker_python' })
    await test.request('POST', `/executions/${other.id}/cancel`)
    const label = `label=filter%3D${labels.filter}`
    expect(ids((await list(`?${label}&status=waiting,running`)).page)).toEqual([one.id])
    expect(ids((await list(`?${label}&status=waiting&status=canceled`)).page)).toHaveLength(2)
    expect(ids((await list(`?${label}&outcome=canceled`)).page)).toEqual([other.id])
    expect(ids((await list(`?${label}&executor=docker_python`)).page)).toEqual([other.id])
    expect(ids((await list(`?${label}&agent_id=${crypto.randomUUID()}`)).page)).toEqual([])
    expect(ids((await list(`?label=filter&q=${one.id}`)).page)).toEqual([one.id])
  })

  it.each([
    ['?status=done', '?status'],
    ['?limit=0', '?limit'],
    ['?limit=1000', '?limit'],
    ['?limit=1&limit=2', '?limit'],
    ['?cursor=xxxx', '?cursor'],
    ['?cursor=', '?cursor'],
    ['?agent_id=me', '?agent_id'],
    ['?label=%3Dx', '?label'],
    ['?__proto__=x', '?__proto__'],
    ['?count=yes', '?count'],
    ['?batch_id=x', '?batch_id'],
  ])('refuses %s', async (query, pointer) => {
    const answer = await test.request('GET', `/executions${query}`)
    expect(answer.status).toBe(422)
    expect((await problemOf(answer)).errors![0]!.pointer).toBe(pointer)
  })

  it('shows a key its own project only', async () => {
    const { id } = await test.submit()
    expect(ids((await list('', test.keys.viewer)).page)).toContain(id)
    expect(ids((await list('', test.keys.stranger)).page)).not.toContain(id)
    for (const path of ['', '/request', '/stdout'])
      expect(
        (await test.request('GET', `/executions/${id}${path}`, { key: test.keys.stranger })).status,
      ).toBe(404)
    const cancel = await test.request('POST', `/executions/${id}/cancel`, { key: test.keys.stranger })
    expect(cancel.status).toBe(404)
  })
})

describe('GET /executions/{id}', () => {
  it('answers with a record as the contract says, before the end and after', async () => {
    const agent = await test.connectAgent(1)
    const { id } = await test.submit()
    await expect.poll(() => agent.assigned.length).toBe(1)
    const before: unknown = await (await test.request('GET', `/executions/${id}`)).json()
    expect(executionRecord.parse(before)).toMatchObject({ status: 'assigned', agent_id: agent.agentId })
    const stdout = new Uint8Array([0x00, 0xff, 0x41])
    await agent.finish(agent.assigned[0]!, { stdout })
    const after: unknown = await (await test.request('GET', `/executions/${id}`)).json()
    expect(executionRecord.parse(after)).toMatchObject({
      status: 'completed',
      stdout: '\0\uFFFDA',
      stdout_bytes: 3,
    })
    agent.leave()
  })

  it('answers 404 to what is not there', async () => {
    for (const id of [crypto.randomUUID(), 'x', '%00', '..%2F..%2Fexecutors', '%ff'])
      expect((await test.request('GET', `/executions/${id}`)).status).toBe(404)
  })
})

describe('GET /executions/{id}/request', () => {
  it('answers with what was submitted, defaults included', async () => {
    const { id } = await test.submit({ code: 'print("\0")', args: ['ü'] })
    const answer = await test.request('GET', `/executions/${id}/request`)
    expect(await answer.json()).toMatchObject({
      executor: 'local_python',
      code: 'print("\0")',
      args: ['ü'],
      stdin: '',
    })
  })
})

describe('POST /executions/{id}/cancel', () => {
  const cancel = (id: string) => test.request('POST', `/executions/${id}/cancel`)

  it('ends what waits at once, tells those who wait for it, and is repeatable', async () => {
    const waiting = test.request('POST', '/executions', {
      body: { executor: 'local_python', code: '' },
      headers: { prefer: 'wait=30', 'idempotency-key': 'to-be-canceled' },
    })
    await expect.poll(() => test.parts.live.listeners).toBe(1)
    const { id } = await test.submit({ code: '' }, { 'idempotency-key': 'to-be-canceled' })
    const told: LiveEvent[] = []
    test.parts.live.subscribe(id, (event) => told.push(event))
    const answer = await cancel(id)
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({ id, status: 'canceled', outcome: 'canceled' })
    expect(told).toMatchObject([{ type: 'final', execution: { id, status: 'canceled' } }])
    expect(await (await waiting).json()).toMatchObject({ id, status: 'canceled' })
    expect((await cancel(id)).status).toBe(200)
  })

  it('asks the agent that has it', async () => {
    const agent = await test.connectAgent(1)
    const { id } = await test.submit()
    await expect.poll(() => agent.assigned.length).toBe(1)
    const { fence } = agent.assigned[0]!
    const answer = await cancel(id)
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({ status: 'canceling' })
    await expect.poll(() => agent.sent).toContainEqual({ type: 'cancel', id, fence })
    await agent.finish(agent.assigned[0]!, { result: { outcome: 'canceled', exit_code: null } })
    expect((await cancel(id)).status).toBe(200)
    agent.leave()
  })

  it('answers 409 to what has ended otherwise', async () => {
    const agent = await test.connectAgent(1)
    const { id } = await test.submit()
    await expect.poll(() => agent.assigned.length).toBe(1)
    await agent.finish(agent.assigned[0]!)
    const answer = await cancel(id)
    expect(answer.status).toBe(409)
    expect(await problemOf(answer)).toMatchObject({ code: 'already_final' })
    expect(((await (await test.request('GET', `/executions/${id}`)).json()) as ExecutionRecord).status).toBe(
      'completed',
    )
    agent.leave()
  })
})
