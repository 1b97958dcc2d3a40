import { type CheckReport, type ExecutorCheck, executorCheck } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createSecrets } from '../secrets/secrets.ts'
import { type Answer, openTestApp, problemOf, type TestApp } from './test-app.ts'

const host_key = `ssh-ed25519 ${'A'.repeat(68)}`
const offers = { available: true, isolation: null, missing: [] }
const works: CheckReport = {
  runtime_id: 'python3.11.2',
  findings: [{ what: 'interpreter', ok: true, detail: 'python3.11.2 at /usr/bin/python3' }],
}
const fails: CheckReport = {
  runtime_id: null,
  findings: [{ what: 'connection', ok: false, detail: 'refused', advice: 'start sshd' }],
}
const reporting = (report: CheckReport) => (): Answer => ({ type: 'checked', report })

describe.each(['pglite', 'postgres'] as const)('POST /executors/{name}/check on %s', (database) => {
  let test: TestApp
  let leaves: (() => void)[] = []
  beforeAll(async () => {
    test = await openTestApp(database)
    const body = {
      name: 'remote',
      executor_type: 'ssh',
      host: 'h',
      username: 'u',
      password: 's3cret',
      host_key,
      mem_limit_mb: 64,
      agent_labels: { zone: 'a' },
    }
    await test.request('POST', '/executors', { body })
  })
  afterEach(async () => {
    for (const leave of leaves.splice(0)) leave()
    // Nobody is online for the next test.
    await test.parts.db.query(`update agents set lease_until = now() - interval '1 second'`)
  })
  afterAll(() => test?.close())

  async function connect(name: string, answer?: () => Answer, zone = 'a') {
    const backends = { ssh: offers, localhost: offers }
    const agent = await test.connectAgent(0, name, { labels: { zone }, backends, ...(answer && { answer }) })
    leaves.push(() => agent.leave())
    return agent
  }

  async function check(name: string, body?: unknown): Promise<ExecutorCheck> {
    const answer = await test.request('POST', `/executors/${name}/check`, { body })
    expect(answer.status).toBe(200)
    return executorCheck.parse(await answer.json())
  }

  it('asks each agent that would get its jobs, with secrets and limits, and tells what each found', async () => {
    const one = await connect(`one-${database}`, reporting(works))
    const two = await connect(`two-${database}`, reporting(fails))
    const other = await connect(`other-${database}`, reporting(works), 'b')
    const found = await check('remote')
    expect(found).toMatchObject({
      name: 'remote',
      ok: false,
      reason: null,
      agents: [
        { agent_id: one.agentId, agent: `one-${database}`, ok: true, ...works },
        { agent_id: two.agentId, agent: `two-${database}`, ok: false, ...fails },
      ],
    })
    expect(JSON.stringify(found)).not.toContain('s3cret')
    expect(one.sent.at(-1)).toMatchObject({
      type: 'check',
      executor: {
        executor_type: 'ssh',
        name: 'remote',
        config_id: found.config_id,
        source: 'rest',
        settings: { host: 'h', password: 's3cret' },
      },
      runtime: 'python',
      limits: { timeout_sec: 30, output_limit_kb: 1024, mem_limit_mb: 64 },
      required_limits: ['mem_limit_mb'],
    })
    expect(other.sent).toEqual([])
    two.leave()
    await test.parts.db.query(`update agents set lease_until = null where id = $1`, [two.agentId])
    expect(await check('remote', { runtime: 'ruby' })).toMatchObject({ ok: true })
    expect(one.sent.at(-1)).toMatchObject({ runtime: 'ruby' })
  })

  it('says why there is nobody to ask', async () => {
    expect(await check('remote')).toMatchObject({ ok: false, reason: 'no agent is online', agents: [] })
    await connect(`elsewhere-${database}`, reporting(works), 'b')
    expect(await check('remote')).toMatchObject({
      ok: false,
      reason: 'no agent that is online and offers ssh has the labels zone=a',
    })
    expect(await check('docker_python')).toMatchObject({ reason: 'no agent that is online offers docker' })
    expect(await check('local_python')).toMatchObject({ ok: true, reason: null })
  })

  it('says so of one that does not answer, that goes, or that is not connected', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const silent = await connect(`silent-${database}`)
    const asked = check('remote')
    await vi.waitFor(() => expect(silent.sent).toHaveLength(1))
    vi.advanceTimersByTime(test.parts.time.checkMs + test.parts.time.handshakeMs)
    vi.useRealTimers()
    const unanswered = { what: 'agent', ok: false, detail: 'it did not answer in time' }
    expect((await asked).agents).toMatchObject([{ ok: false, findings: [unanswered] }])

    const again = check('remote')
    await vi.waitFor(() => expect(silent.sent).toHaveLength(2))
    silent.leave()
    expect((await again).agents).toMatchObject([{ ok: false, findings: [unanswered] }])
    expect((await check('remote')).agents).toMatchObject([
      {
        ok: false,
        findings: [{ what: 'agent', ok: false, detail: expect.stringContaining('not connected') }],
      },
    ])
  })

  it('asks for a disabled one too, and says that it is', async () => {
    await connect(`early-${database}`, reporting(works))
    const body = { name: 'early', executor_type: 'ssh', host: 'h', username: 'u', enabled: false }
    await test.request('POST', '/executors', { body })
    const disabled = { ok: false, reason: 'the executor is disabled', agents: [{ ok: true }] }
    expect(await check('early')).toMatchObject(disabled)
  })

  it('says so when the secrets cannot be opened', async () => {
    await connect(`any-${database}`, reporting(works))
    const other = await createSecrets(`other:${new Uint8Array(32).fill(9).toBase64()}`)
    const open = vi.spyOn(test.parts.secrets, 'open').mockImplementation((...given) => other.open(...given))
    expect(await check('remote')).toMatchObject({ ok: false, reason: expect.stringContaining('SECRET_KEY') })
    open.mockRestore()
  })

  it('is for admins, of executors that are there, with a body that it knows', async () => {
    const at = '/executors/remote/check'
    for (const key of [test.keys.runner, test.keys.viewer])
      expect((await test.request('POST', at, { key })).status).toBe(403)
    for (const name of ['nobody', '%00', 'a%20b'])
      expect((await test.request('POST', `/executors/${name}/check`)).status).toBe(404)
    const refused = await test.request('POST', at, { body: { runtime: 'cobol', x: 1 } })
    expect(refused.status).toBe(422)
    expect((await problemOf(refused)).errors!.map(({ pointer }) => pointer)).toEqual(['/runtime', '/x'])
    expect((await test.request('POST', at, { body: '{' })).status).toBe(400)
    const typed = { body: '{}', headers: { 'content-type': 'text/plain' } }
    expect((await test.request('POST', at, typed)).status).toBe(415)
    expect((await test.request('POST', at, { body: '' })).status).toBe(200)
  })
})
