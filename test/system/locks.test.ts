import type { ExecutionRecord, Job, JobSummary, Page } from '@errand/shared'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TestAgent } from './harness/agent.ts'
import type { Api } from './harness/api.ts'
import { agentForTest, apiForTest, databases } from './harness/for-test.ts'
import { until } from './harness/until.ts'

/** Nothing is fetched: the agents' backend installs by doing what a package's name says (see `fake.ts`). */
const config = JSON.stringify({
  code_executors: { local: { packages: { allow_dependencies: true, index_url: 'http://127.0.0.1:9/' } } },
})
const prints = (what: string) => JSON.stringify({ steps: [{ stdout: what }, { exit: 0 }] })

describe.each(databases)('executions that lack a dependency set, on %s', (database) => {
  async function circle(slots = 2): Promise<{ api: Api; agent: TestAgent }> {
    const api = await apiForTest({ database, config, timeScale: 0.1 })
    const agent = await agentForTest({ api, fake: true, slots, timeScale: 0.1 })
    return { api, agent }
  }

  function submit({ client }: Api, dependencies: string[], count: number): Promise<ExecutionRecord[]> {
    return Promise.all(
      Array.from({ length: count }, (_, n) =>
        client.submit({ executor: 'packages', code: prints(String(n)), dependencies }),
      ),
    )
  }

  function finals({ client }: Api, submitted: readonly ExecutionRecord[]): Promise<ExecutionRecord[]> {
    return Promise.all(submitted.map(({ id }) => client.final(id)))
  }

  async function installations({ client }: Api): Promise<JobSummary[]> {
    return (await client.get<Page<JobSummary>>('/jobs?type=runtime.install')).data
  }

  async function nothingIsLocked({ client }: Api): Promise<void> {
    const live = '?status=waiting,locked,assigned,running,retrying,canceling'
    await until('nothing is live', async () => {
      const jobs = await client.get<Page<JobSummary>>(`/jobs${live}`)
      return (await client.executions(live)).data.length + jobs.data.length === 0
    })
  }

  it('wait together for one installation, hold no slot meanwhile, and all succeed', async () => {
    const { api } = await circle(1)
    const waiting = await submit(api, ['sleep-500'], 20)
    const locked = await Promise.all(waiting.map(({ id }) => api.client.status(id, 'locked')))
    const [job] = await installations(api)
    expect(new Set(locked.map(({ locked_by }) => locked_by))).toEqual(new Set([job!.id]))
    const other = await api.client.run({ executor: 'packages', code: prints('meanwhile') })
    expect(other).toMatchObject({ outcome: 'succeeded', stdout: 'meanwhile' })
    const records = await finals(api, waiting)
    expect(records.map(({ outcome, stdout }) => `${outcome} ${stdout}`)).toEqual(
      waiting.map((_, n) => `succeeded ${n}`),
    )
    expect(await installations(api)).toMatchObject([
      { status: 'completed', progress: { phase: 'installing' } },
    ])
    await nothingIsLocked(api)
  })

  it('go on when an installation succeeds at its second attempt, whose job keeps the error of the first', async () => {
    const { api } = await circle()
    expect(await finals(api, await submit(api, ['fail-once'], 3))).toMatchObject(
      Array.from({ length: 3 }, () => ({ outcome: 'succeeded', attempt: 1 })),
    )
    const [installation] = await installations(api)
    expect(await api.client.get<Job>(`/jobs/${installation!.id}`)).toMatchObject({
      attempt: 2,
      attempts: [
        { attempt: 1, outcome: 'infra_error', error: 'it failed' },
        { attempt: 2, outcome: 'succeeded' },
      ],
    })
  })

  it('end with its cause when it fails for good, or is refused', async () => {
    const { api } = await circle()
    for (const [dependency, cause] of [
      ['fail', 'it failed'],
      ['refuse', 'it is refused'],
    ] as const) {
      const [record] = await finals(api, await submit(api, [dependency], 1))
      expect(record).toMatchObject({
        outcome: 'infra_error',
        completed: false,
        error: `its dependencies were not installed: ${cause}`,
      })
    }
  })

  it('cancel it with the last of them', async () => {
    const { api } = await circle()
    const [one, other] = await submit(api, ['sleep-60000'], 2)
    await api.client.status(one!.id, 'locked')
    await api.client.status(other!.id, 'locked')
    const id = (await installations(api))[0]!.id
    await until('it runs', async () => (await api.client.get<Job>(`/jobs/${id}`)).progress !== null)
    expect(await api.client.cancel(one!.id)).toMatchObject({ status: 'canceled' })
    expect(await api.client.get<Job>(`/jobs/${id}`)).toMatchObject({ outcome: null })
    await api.client.cancel(other!.id)
    await until(
      'it is canceled',
      async () => (await api.client.get<Job>(`/jobs/${id}`)).status === 'canceled',
    )
  })

  it('end when somebody cancels the installation', async () => {
    const { api } = await circle()
    const [one] = await submit(api, ['sleep-60001'], 1)
    const { locked_by } = await api.client.status(one!.id, 'locked')
    await api.client.post(`/jobs/${locked_by}/cancel`)
    expect(await api.client.final(one!.id)).toMatchObject({
      outcome: 'infra_error',
      error: 'its dependencies were not installed: that was canceled',
    })
  })

  it.each([
    'recv_claim',
    'accepted',
    'locking',
    'starting',
    'first_chunk',
    'brought',
    'spooled_result',
    'sent_result',
    'acked_result',
  ])('lose nothing when their agent is killed at %s', async (point) => {
    const api = await apiForTest({ database, config, timeScale: 0.1 })
    const agent = await agentForTest({
      api,
      fake: true,
      slots: 2,
      timeScale: 0.1,
      env: { ERRAND_CRASH_AT: point },
    })
    const waiting = await submit(api, ['sleep-200'], 6)
    await until('it has died', () => !agent.process.alive)
    await agent.start({ ERRAND_CRASH_AT: '' })
    const records = await finals(api, waiting)
    // Those that had started may be lost, as without any lock: one for each slot.
    const lost = records.filter(({ outcome }) => outcome === 'lost')
    expect(lost.length).toBeLessThanOrEqual(['starting', 'first_chunk'].includes(point) ? 0 : 2)
    expect(new Set(records.map(({ outcome }) => outcome).filter((one) => one !== 'lost'))).toEqual(
      new Set(['succeeded']),
    )
    await nothingIsLocked(api)
  })

  it('lose nothing when the API is killed at any moment', async () => {
    const { api } = await circle()
    onTestFinished(() => api.start().catch(() => {}))
    const waiting: ExecutionRecord[] = []
    for (let n = 0; n < 6; n++) {
      waiting.push(...(await submit(api, [`sleep-${300 + n}`], 3)))
      // From before the first lock to after the last execution has ended.
      await new Promise((resolve) => setTimeout(resolve, n * 150))
      await api.kill()
      await api.start()
    }
    const records = await finals(api, waiting)
    expect(new Set(records.map(({ outcome }) => outcome))).toEqual(new Set(['succeeded']))
    expect(records.map(({ attempt }) => attempt)).toEqual(waiting.map(() => 1))
    await nothingIsLocked(api)
  })

  it('are served by one installation on each agent that callers ask to prepare', async () => {
    const { api, agent } = await circle()
    const second = await agentForTest({ api, fake: true, slots: 2, timeScale: 0.1 })
    const asked = await api.client.post<Job>('/jobs', {
      type: 'runtime.install',
      params: { code_executor: 'packages', dependencies: ['sleep-100'] },
    })
    const done = await until('it is completed', async () => {
      const job = await api.client.get<Job>(`/jobs/${asked.id}`)
      return job.status === 'completed' ? job : undefined
    })
    expect(new Set(done.parts.map(({ agent_id, status }) => `${agent_id} ${status}`))).toEqual(
      new Set([agent.id, second.id].map((id) => `${id} completed`)),
    )
    const before = (await installations(api)).length
    expect(await finals(api, await submit(api, ['sleep-100'], 8))).toMatchObject(
      Array.from({ length: 8 }, () => ({ outcome: 'succeeded' })),
    )
    expect(await installations(api)).toHaveLength(before)
  })
})
