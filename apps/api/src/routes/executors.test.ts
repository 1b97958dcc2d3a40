import { type DependencySet, type ShownExecutor, executor, shownExecutor } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

const host_key = `ssh-ed25519 ${'A'.repeat(68)}`
const ssh = (name: string) => ({
  name,
  executor_type: 'ssh',
  host: 'example.org',
  username: 'u',
  password: 's3cret-password',
  host_key,
})

const make = (body: object) => test.request('POST', '/executors', { body })
const patch = (name: string, body: unknown, headers: Record<string, string> = {}) =>
  test.request('PATCH', `/executors/${name}`, { body, headers })
const show = async (name: string) =>
  (await (await test.request('GET', `/executors/${name}`)).json()) as ShownExecutor

describe('/executors', () => {
  it('shows those of config.yaml to every key', async () => {
    const answer = await test.request('GET', '/executors', { key: test.keys.viewer })
    const { data } = (await answer.json()) as { data: ShownExecutor[] }
    expect(data.map(({ name }) => name)).toContain('local_python')
    for (const one of data) expect(() => executor.parse(one)).not.toThrow()
  })

  it('makes, shows, changes and deletes', async () => {
    const made = await make({ name: 'mine', executor_type: 'localhost', timeout_sec: 5 })
    expect(made.status).toBe(201)
    expect(made.headers.get('location')).toBe('/executors/mine')
    const first = (await made.json()) as ShownExecutor
    expect(first).toMatchObject({ name: 'mine', source: 'rest', enabled: true, settings: { timeout_sec: 5 } })
    expect(await show('mine')).toEqual({ ...first, dependency_sets: [] })

    const changed = await patch(
      'mine',
      { timeout_sec: null, description: 'x' },
      { 'content-type': 'application/merge-patch+json' },
    )
    const second = (await changed.json()) as ShownExecutor
    expect(second).toMatchObject({
      executor_id: first.executor_id,
      settings: { timeout_sec: 30, description: 'x' },
    })
    expect(second.config_id).not.toBe(first.config_id)

    const run = await test.submit({ executor: 'mine' })
    expect(run.config_id).toBe(second.config_id)
    expect((await test.request('DELETE', '/executors/mine')).status).toBe(204)
    expect((await test.request('GET', '/executors/mine')).status).toBe(404)
    expect((await test.request('GET', `/executions/${run.id}`)).status).toBe(200)
    const refused = await test.request('POST', '/executions', { body: { executor: 'mine', code: '' } })
    expect(refused.status).toBe(404)
  })

  it('refuses what is still to come, with a pointer', async () => {
    const made = await make({ name: 'hot', executor_type: 'docker', image: 'x', warm: 2, engine: 'oci' })
    expect(made.status).toBe(422)
    expect(await made.json()).toMatchObject({
      code: 'not_available_yet',
      errors: [{ pointer: '/warm' }, { pointer: '/engine' }],
    })
  })

  it('never shows a secret, and keeps what is not sent again', async () => {
    const made = await make(ssh('remote'))
    const changed = await patch('remote', { timeout_sec: 7 })
    for (const answer of [made, changed, await test.request('GET', '/executors')]) {
      const text = await answer.text()
      expect(text).not.toContain('s3cret')
      expect(text).toContain('"has_secrets":["password"]')
    }
    expect(JSON.stringify(test.logged)).not.toContain('s3cret')
  })

  it('clears secrets when the target changes, and takes no submissions until they are sent again', async () => {
    await make(ssh('moving'))
    const moved = await patch('moving', { host: 'new.example' })
    expect(moved.status).toBe(200)
    expect(await moved.json()).toMatchObject({
      settings: { host: 'new.example' },
      has_secrets: [],
      enabled: false,
    })
    const refused = await test.request('POST', '/executions', { body: { executor: 'moving', code: '' } })
    expect(refused.status).toBe(422)
    expect((await patch('moving', { enabled: true })).status).toBe(422)
    const again = await patch('moving', { password: 'other', enabled: true })
    expect(await again.json()).toMatchObject({ enabled: true, has_secrets: ['password'] })
    const both = await patch('moving', { host: 'newer.example', password: 'third' })
    expect(await both.json()).toMatchObject({ enabled: true, has_secrets: ['password'] })
  })

  it('shows the dependency sets that agents have for it', async () => {
    await make({
      name: 'science',
      executor_type: 'localhost',
      allow_dependencies: true,
      index_url: 'https://packages.example/simple',
    })
    const set = (more: Partial<DependencySet>): DependencySet => ({
      hash: 'h',
      executor: 'science',
      place: 'this host',
      runtime: 'python',
      runtime_id: 'python3.11.2',
      dependencies: ['six==1.17.0'],
      bytes: 7_000_000_000,
      last_used_at: null,
      in_use: false,
      ...more,
    })
    const used = set({ hash: 'used', last_used_at: '2026-11-28T01:02:03.000Z' })
    const agent = await test.connectAgent(0)
    const gone = await test.connectAgent(0)
    expect(await show('science')).toMatchObject({ dependency_sets: [] })
    for (const one of [agent, gone])
      await one.tell({ disk: [], images: [], sets: [set({}), used, set({ executor: 'another' })] })
    await test.request('DELETE', `/agents/${gone.agentId}`)
    const place = { agent_id: agent.agentId, agent: agent.name }
    const shown = await show('science')
    expect(shownExecutor.parse(shown).dependency_sets).toEqual([
      { ...used, ...place },
      { ...set({}), ...place },
    ])
  })

  it('refuses a name that is taken', async () => {
    const answer = await make({ name: 'local_python', executor_type: 'localhost' })
    expect(answer.status).toBe(409)
    expect(await problemOf(answer)).toMatchObject({ code: 'name_taken' })
  })

  it('leaves those of config.yaml alone', async () => {
    for (const answer of [
      await patch('local_python', { timeout_sec: 1 }),
      await test.request('DELETE', '/executors/local_python'),
    ]) {
      expect(answer.status).toBe(409)
      expect(await problemOf(answer)).toMatchObject({ code: 'read_only' })
    }
  })

  it.each([
    [{ name: 'a b', executor_type: 'localhost' }, '/name'],
    [{ name: 'x', executor_type: 'vm' }, '/executor_type'],
    [{ name: 'x', executor_type: 'localhost', image: 'y' }, '/image'],
    [{ name: 'x', executor_type: 'docker' }, '/image'],
    [{ name: 'x', executor_type: 'docker', image: 'y', mem_limit_mb: 0.5 }, '/mem_limit_mb'],
    [{ ...ssh('x'), password_file: '/etc/shadow' }, '/password_file'],
    [{ ...ssh('x'), host_key: undefined }, '/host_key'],
  ])('refuses %j with %s', async (body, pointer) => {
    const answer = await make(body)
    expect(answer.status).toBe(422)
    expect((await problemOf(answer)).errors!.map((error) => error.pointer)).toContain(pointer)
  })

  it('refuses a patch that is none, and changes nothing', async () => {
    await make({ name: 'steady', executor_type: 'localhost' })
    const before = await show('steady')
    for (const body of [
      [],
      'null',
      { name: 'other' },
      { executor_type: 'docker' },
      { timeout_sec: -1 },
      { x: 1 },
    ])
      expect((await patch('steady', body)).status).toBe(422)
    expect((await patch('steady', '{')).status).toBe(400)
    for (const name of ['nobody', '%00', 'a%20b']) expect((await patch(name, {})).status).toBe(404)
    expect(await show('steady')).toEqual(before)
  })

  it('takes no submissions while it is disabled', async () => {
    await make({ name: 'resting', executor_type: 'localhost', enabled: false })
    const answer = await test.request('POST', '/executions', { body: { executor: 'resting', code: '' } })
    expect(answer.status).toBe(422)
    expect((await problemOf(answer)).errors![0]!.pointer).toBe('/executor')
  })
})
