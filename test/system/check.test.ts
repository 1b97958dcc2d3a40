import type { Executor, ExecutorCheck, HostKeys } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { databases, sharedCircle } from './harness/for-test.ts'

const config = JSON.stringify({
  code_executors: {
    local: { sandboxed: {}, limited: { mem_limit_mb: 64 }, plain: { sandbox: 'none' } },
    docker: { container: { image: 'none/such' } },
  },
})

describe.each(databases)('a check of an executor, on %s', (database) => {
  const circle = sharedCircle({ database, config, slots: 2 })
  const check = (name: string, body: object = {}) =>
    circle.api.client.post<ExecutorCheck>(`/executors/${name}/check`, body)

  it('finds what a run would find', async () => {
    const run = await circle.api.client.run({ executor: 'sandboxed', code: 'print(1)' })
    const found = await check('sandboxed')
    expect(found).toMatchObject({
      ok: true,
      reason: null,
      agents: [{ agent_id: circle.agent.id, ok: true, runtime_id: run.runtime_id }],
    })
    expect(found.agents[0]!.findings.map(({ what }) => what)).toEqual([
      'policy',
      'sandbox',
      'interpreter',
      'limits',
      'disk',
    ])
  })

  it('says what a run would be refused for', async () => {
    for (const [executor, what] of [
      ['limited', 'limits'],
      ['plain', 'policy'],
    ] as const) {
      const found = await check(executor)
      const wrong = found.agents[0]!.findings.filter(({ ok }) => !ok)
      expect({ executor, ok: found.ok, wrong }).toMatchObject({ executor, ok: false, wrong: [{ what }] })
      const run = await circle.api.client.run({ executor, code: 'print(1)' })
      expect(run).toMatchObject({ outcome: 'rejected', error: wrong[0]!.detail })
    }
    const shell = await check('sandboxed', { runtime: 'bash' })
    expect(shell.agents[0]!.runtime_id).toMatch(/^bash/)
  })

  it('says why nobody can be asked, in the words of what waits for it, or what an agent met', async () => {
    const { client } = circle.api
    const { ok, reason, agents } = await check('container')
    expect({ ok, agents }).toEqual({ ok: false, agents: [] })
    const waiting = await client.submit({ executor: 'container', code: 'print(1)' })
    expect(reason).toMatch(/no agent that is online offers docker/)
    expect((await client.execution(waiting.id)).waiting_reason).toBe(reason)

    const target = { host: '127.0.0.1', port: 1, username: 'u', password: 'p', enabled: false }
    const made = await client.post<Executor>('/executors', {
      name: 'target',
      executor_type: 'ssh',
      ...target,
    })
    expect(made).toMatchObject({ enabled: false, has_secrets: ['password'] })
    const seen = await client.post<HostKeys>('/executors/target/host-key')
    const error = expect.stringMatching(/^cannot reach 127\.0\.0\.1:1: .*ECONNREFUSED/)
    expect(seen).toMatchObject({ stored: [], reason: null, agents: [{ keys: [], error }] })
  })
})
