import { timeConstants, type TimeConstants } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openTestApp, type TestApp } from '../routes/test-app.ts'

// The test app never polls by itself: what is assigned here was woken by what happened.
describe.each(['pglite', 'postgres'] as const)('dispatch on %s', (database) => {
  let test: TestApp
  beforeAll(async () => {
    test = await openTestApp(database)
  })
  afterAll(() => test?.close())

  const make = (name: string, settings: object) =>
    test.request('POST', '/executors', { body: { name, executor_type: 'localhost', ...settings } })
  const patch = (name: string, body: object) => test.request('PATCH', `/executors/${name}`, { body })
  const reasonOf = async (id: string) => {
    const record = await (await test.request('GET', `/executions/${id}`)).json()
    return (record as { waiting_reason: string | null }).waiting_reason
  }

  it('keeps max_concurrency over two agents, and wakes the next as soon as a place is free', async () => {
    await make('two', { max_concurrency: 2 })
    const first = await test.connectAgent(4)
    const second = await test.connectAgent(4)
    const assigned = () => [...first.assigned, ...second.assigned]
    const submitted = []
    for (let n = 0; n < 6; n++) submitted.push(await test.submit({ executor: 'two' }))
    await vi.waitFor(() => expect(assigned()).toHaveLength(2))
    expect(await reasonOf(submitted[5]!.id)).toBe(
      'its executor runs no more than 2 at once (max_concurrency), and 2 are under way; 3 jobs are before it',
    )
    // Jobs of others pass it by.
    const other = await test.submit()
    await vi.waitFor(() => expect(assigned().map(({ id }) => id)).toContain(other.id))
    const ended = new Set([other.id])
    while (ended.size <= submitted.length) {
      const holder = [first, second].find((one) => one.assigned.some(({ id }) => !ended.has(id)))!
      const job = holder.assigned.find(({ id }) => !ended.has(id))!
      ended.add(job.id)
      await holder.finish(job)
      const due = Math.min(submitted.length + 1, ended.size + 2)
      await vi.waitFor(() => expect(assigned()).toHaveLength(due), { timeout: 10_000 })
    }
    first.leave()
    second.leave()
  })

  it('sends its agents away, when it goes down, to moments that are spread over a time below their lease', async () => {
    const agents = await Promise.all(Array.from({ length: 20 }, () => test.connectAgent(0)))
    const draws = agents.map((_, n) => n / agents.length)
    const spread = (time: TimeConstants) => {
      const left = [...draws]
      test.parts.dispatch.closeAll(time, () => left.shift()!)
      const told = agents.map(({ sent }) => sent.find((one) => one.type === 'reconnect')!.reconnect_in_ms)
      return told.sort((a, b) => a - b)
    }
    expect(spread({ ...timeConstants, reconnectSpreadMs: 100 })).toEqual(draws.map((one) => one * 2_000))
    expect(test.parts.dispatch.links()).toEqual([])
    const one = await test.connectAgent(0)
    const time = { ...timeConstants, reconnectSpreadMs: 1e6 }
    test.parts.dispatch.closeAll(time, () => 1)
    expect(one.sent.at(-1)).toEqual({ type: 'reconnect', reconnect_in_ms: time.leaseMs / 2 })
  })

  it('gives ssh jobs the slots for ssh, and those of docker and localhost the slots for runs', async () => {
    const offers = { available: true, isolation: null, missing: [] }
    const backends = { docker: offers, ssh: offers, localhost: offers }
    const slots = { run: 4, ssh: 16, maintenance: 2 }
    const agent = await test.connectAgent(0, undefined, { backends, slots })
    const host_key = `ssh-ed25519 ${'A'.repeat(68)}`
    const target = { executor_type: 'ssh', host: 'h', username: 'u', password: 'p', host_key }
    await test.request('POST', '/executors', { body: { name: 'remote', ...target } })
    const [docker, local, ssh, another] = [
      await test.submit({ executor: 'docker_python' }),
      await test.submit(),
      await test.submit({ executor: 'remote' }),
      await test.submit({ executor: 'remote' }),
    ]
    const assigned = () => agent.assigned.map((job) => [job.id, job.slot_class])
    agent.grant(0, 1)
    await vi.waitFor(() => expect(assigned()).toEqual([[ssh.id, 'ssh']]))
    agent.grant(2)
    await vi.waitFor(() => expect(assigned()).toHaveLength(3))
    expect(assigned().slice(1)).toEqual([
      [docker.id, 'run'],
      [local.id, 'run'],
    ])
    const full = 'its agents have slots (1 of 16 are taken), and have not asked for more yet'
    expect(await reasonOf(another.id)).toBe(full)
    const list = await test.request('GET', '/executions?status=waiting&executor=remote')
    expect(await list.json()).toMatchObject({ data: [{ id: another.id, waiting_reason: full }] })
    agent.leave()
  })

  it('holds back what waits for an executor while that is disabled', async () => {
    await make('resting', {})
    const agent = await test.connectAgent(0)
    const held = await test.submit({ executor: 'resting' })
    await patch('resting', { enabled: false })
    const other = await test.submit()
    agent.grant(2)
    await vi.waitFor(() => expect(agent.assigned.map(({ id }) => id)).toEqual([other.id]))
    expect(await reasonOf(held.id)).toBe('its executor is disabled')
    await patch('resting', { enabled: true })
    await vi.waitFor(() => expect(agent.assigned.map(({ id }) => id)).toEqual([other.id, held.id]))
    agent.leave()
  })

  it('gives an agent the job that brings what it lacks, also where that is the first of its own queue', async () => {
    await make('packages', { allow_dependencies: true, index_url: 'http://127.0.0.1:9/' })
    const agent = await test.connectAgent(1)
    agent.grant(0, 0, 1)
    const { id } = await test.submit({ executor: 'packages', dependencies: ['six==1.17.0'] })
    await vi.waitFor(() => expect(agent.assigned.map((job) => job.id)).toContain(id))
    const lacking = agent.assigned.find((job) => job.id === id)!
    await agent.lack(lacking, 'runtime.install', 'six==1.17.0 is not installed')
    await vi.waitFor(() =>
      expect(agent.assigned.at(-1)).toMatchObject({ type: 'runtime.install', slot_class: 'maintenance' }),
    )
    agent.leave()
  })

  it('shares the slots of an agent between the keys that wait, from the poll on that finds several', async () => {
    const agent = await test.connectAgent(0)
    for (let n = 0; n < 12; n++) await test.submit()
    const theirs = new Set<string>()
    for (let n = 0; n < 3; n++) {
      const answer = await test.request('POST', '/executions', {
        key: test.keys.runner,
        body: { executor: 'local_python', code: 'pass' },
      })
      theirs.add(((await answer.json()) as { id: string }).id)
    }
    await test.parts.dispatch.poll()
    agent.grant(6)
    await vi.waitFor(() => expect(agent.assigned).toHaveLength(6))
    expect(agent.assigned.filter(({ id }) => theirs.has(id))).toHaveLength(3)
    agent.leave()
  })
})
