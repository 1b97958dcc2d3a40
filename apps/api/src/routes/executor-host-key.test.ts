import {
  type Executor,
  type ShownExecutor,
  type HostKeys,
  hostKeys,
  readHostKey,
  sshExecutor,
} from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { insertExecutor } from '../store/executors.ts'
import { type Answer, openTestApp, problemOf, type TestApp } from './test-app.ts'

const offers = { available: true, isolation: null, missing: [] }
const lineOf = (letter: string) => `ssh-ed25519 ${letter.repeat(68)}`
const presenting =
  (...keys: string[]) =>
  (): Answer => ({ type: 'host_key_seen', keys, error: null })
const failing = (error: string) => (): Answer => ({ type: 'host_key_seen', keys: [], error })

describe.each(['pglite', 'postgres'] as const)('POST /executors/{name}/host-key on %s', (database) => {
  let test: TestApp
  let names = 0
  let leaves: (() => void)[] = []
  let a: string
  let b: string
  beforeAll(async () => {
    test = await openTestApp(database)
    a = (await readHostKey(lineOf('A'))).sha256
    b = (await readHostKey(lineOf('B'))).sha256
  })
  afterEach(async () => {
    for (const leave of leaves.splice(0)) leave()
    // Nobody is online for the next test.
    await test.parts.db.query(`update agents set lease_until = now() - interval '1 second'`)
  })
  afterAll(() => test?.close())

  async function connect(answer: () => Answer | Promise<Answer>) {
    const agent = await test.connectAgent(0, undefined, { backends: { ssh: offers }, answer })
    leaves.push(() => agent.leave())
    return agent
  }

  async function make(more: object = {}): Promise<string> {
    const name = `target-${++names}`
    const body = { name, executor_type: 'ssh', host: 'h', port: 2222, username: 'u', password: 'p', ...more }
    const made = await test.request('POST', '/executors', { body })
    expect(made.status).toBe(201)
    return name
  }

  const ask = (name: string, body?: unknown) => test.request('POST', `/executors/${name}/host-key`, { body })
  const look = async (name: string): Promise<HostKeys> => hostKeys.parse(await (await ask(name)).json())
  /** As answers to changes show it. */
  const show = async (name: string): Promise<Executor> => {
    const { dependency_sets: _, ...executor } = (await (
      await test.request('GET', `/executors/${name}`)
    ).json()) as ShownExecutor
    return executor
  }

  it('shows what the target presents to each agent, beside what is stored, and changes nothing', async () => {
    const name = await make({ host_key: `${lineOf('B')} of old` })
    const before = await show(name)
    const one = await connect(presenting(lineOf('A'), 'nonsense'))
    await connect(failing('connection refused'))
    const shown = await look(name)
    expect(shown).toMatchObject({
      host: 'h',
      port: 2222,
      stored: [{ key_type: 'ssh-ed25519', sha256: b, host_key: lineOf('B') }],
      reason: null,
    })
    expect(shown.agents).toHaveLength(2)
    expect(shown.agents).toContainEqual({
      agent_id: one.agentId,
      agent: one.name,
      keys: [{ key_type: 'ssh-ed25519', sha256: a, host_key: lineOf('A') }],
      error: null,
    })
    expect(shown.agents).toContainEqual(expect.objectContaining({ keys: [], error: 'connection refused' }))
    expect(one.sent.at(-1)).toMatchObject({ type: 'host_key', host: 'h', port: 2222 })
    expect(await show(name)).toEqual(before)
  })

  it('stores the first key of an executor that was made without one, with its secrets, and an audit entry', async () => {
    const name = await make({ enabled: false })
    await connect(presenting(lineOf('A'), lineOf('B')))
    expect((await look(name)).stored).toEqual([])
    const stored = await ask(name, { confirm: a, enabled: true })
    expect(stored.status).toBe(200)
    const executor = await show(name)
    expect(await stored.json()).toEqual(executor)
    expect(executor).toMatchObject({
      enabled: true,
      settings: { host_key: lineOf('A') },
      has_secrets: ['password'],
    })
    const [entry] = await test.parts.db.query(
      `select actor, target, detail from audit_log where action = 'executor.host_key' order by at desc limit 1`,
    )
    expect(entry).toEqual({
      actor: 'admin of default',
      target: name,
      detail: { config_id: executor.config_id, sha256: a },
    })
  })

  it('takes secrets only with the key, of an executor that was made without either', async () => {
    const name = await make({ enabled: false, password: undefined })
    await connect(presenting(lineOf('A')))
    expect((await ask(name, { confirm: a, enabled: true })).status).toBe(422)
    const stored = await ask(name, { confirm: a, enabled: true, private_key: 'the key' })
    expect(await stored.json()).toMatchObject({ enabled: true, has_secrets: ['private_key'] })
  })

  it('clears the secrets that were stored for another key, unless they are sent along', async () => {
    await connect(presenting(lineOf('A')))
    const name = await make({ host_key: lineOf('B') })
    const cleared = await ask(name, { confirm: a })
    expect(await cleared.json()).toMatchObject({
      enabled: false,
      has_secrets: [],
      settings: { host_key: lineOf('A') },
    })
    const other = await make({ host_key_sha256: b })
    const sent = await ask(other, { confirm: a, private_key: 'the key', passphrase: 'of it' })
    const executor = (await sent.json()) as Executor
    expect(executor).toMatchObject({
      enabled: true,
      has_secrets: ['passphrase', 'private_key'],
      settings: { host_key: lineOf('A') },
    })
    expect(executor.settings).not.toHaveProperty('host_key_sha256')
  })

  it('changes nothing where just that key is stored, and drops the other of two', async () => {
    await connect(presenting(lineOf('A')))
    for (const pin of [{ host_key: `${lineOf('A')} comment` }, { host_key_sha256: a }]) {
      const name = await make(pin)
      const before = await show(name)
      expect(await (await ask(name, { confirm: a })).json()).toEqual(before)
      expect(await show(name)).toEqual(before)
    }
    const name = await make({ host_key: [lineOf('B'), lineOf('A')] })
    expect(await (await ask(name, { confirm: a })).json()).toMatchObject({
      settings: { host_key: lineOf('A') },
      has_secrets: ['password'],
    })
  })

  it('refuses what the target does not present now to every agent that reaches it', async () => {
    const name = await make({ enabled: false })
    const refused = async (words: RegExp) => {
      const answer = await ask(name, { confirm: a })
      expect(answer.status).toBe(409)
      const problem = await problemOf(answer)
      expect(problem).toMatchObject({ code: 'host_key_not_seen', errors: [{ pointer: '/confirm' }] })
      expect(problem.detail).toMatch(words)
      expect((await show(name)).settings).not.toHaveProperty('host_key')
    }
    await refused(/no agent is online/)
    await connect(failing('no route to host'))
    await refused(/no route to host/)
    await connect(presenting(lineOf('A')))
    const between = await connect(presenting(lineOf('B')))
    await refused(new RegExp(`${between.name}.*${b.replaceAll('+', '\\+')}`))
    between.leave()
    await test.parts.db.query('update agents set lease_until = null where id = $1', [between.agentId])
    expect((await ask(name, { confirm: a })).status).toBe(200)
  })

  it('stores nothing when the target was changed while it looked', async () => {
    const name = await make({ enabled: false })
    await connect(async () => {
      await test.request('PATCH', `/executors/${name}`, { body: { host: 'other' } })
      return presenting(lineOf('A'))()
    })
    const answer = await ask(name, { confirm: a })
    expect(answer.status).toBe(409)
    expect((await show(name)).settings).toMatchObject({ host: 'other', enabled: false })
  })

  it('is for admins, of ssh executors, and leaves those of config.yaml to config.yaml', async () => {
    const name = await make({ host_key: lineOf('A') })
    for (const key of [test.keys.runner, test.keys.viewer])
      expect((await test.request('POST', `/executors/${name}/host-key`, { key })).status).toBe(403)
    expect((await ask('nobody')).status).toBe(404)
    expect((await ask('local_python')).status).toBe(422)
    for (const [body, pointer] of [
      [{ confirm: 'SHA256:x' }, '/confirm'],
      [{ password: 'x' }, '/password'],
      [{ x: 1 }, '/x'],
    ] as const) {
      const refused = await ask(name, body)
      expect(refused.status).toBe(422)
      expect((await problemOf(refused)).errors!.map((error) => error.pointer)).toContain(pointer)
    }
    await insertExecutor(test.parts.db, test.parts.secrets, {
      name: 'of_the_file',
      source: 'config',
      settings: {
        executor_type: 'ssh',
        ...sshExecutor.parse({ host: 'h', username: 'u', password: 'p', host_key: lineOf('B') }),
      },
    })
    await connect(presenting(lineOf('A')))
    expect((await look('of_the_file')).agents).toMatchObject([{ keys: [{ sha256: a }] }])
    const answer = await ask('of_the_file', { confirm: a })
    expect(answer.status).toBe(409)
    expect(await problemOf(answer)).toMatchObject({ code: 'read_only' })
  })
})
