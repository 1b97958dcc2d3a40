import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionRecord, Job, JobSummary, Page } from '@errand/shared'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { agentForTest, databases, sharedCircle } from './harness/for-test.ts'
import { until } from './harness/until.ts'

/** Nothing is fetched: the agents' backend installs by doing what a package's name says (see `fake.ts`). */
const config = JSON.stringify({
  code_executors: { local: { packages: { allow_dependencies: true, index_url: 'http://127.0.0.1:9/' } } },
})
const prints = (what: string) => JSON.stringify({ steps: [{ stdout: what }, { exit: 0 }] })
const live = '?status=waiting,locked,assigned,running,retrying,canceling'

describe.each(databases)('executions that lack a dependency set, on %s', (database) => {
  const gates = mkdtempSync(join(tmpdir(), 'errand-gates-'))
  const open = (gate: string) => writeFileSync(join(gates, gate), '')
  const env = { ERRAND_FAKE_GATES: gates }
  const circle = sharedCircle({
    database,
    config,
    timeScale: 0.1,
    slots: 1,
    fake: true,
    env: async () => env,
  })
  afterAll(() => rmSync(gates, { recursive: true }))

  afterEach(() =>
    until('nothing is live any more, nor locked', async () => {
      const jobs = await circle.api.client.get<Page<JobSummary>>(`/jobs${live}`)
      return (await circle.api.client.executions(live)).data.length + jobs.data.length === 0
    }),
  )

  /** Where the machine is so slow that a lease runs out, an execution is tried again. */
  function submit(dependencies: string[], count: number): Promise<ExecutionRecord[]> {
    return Promise.all(
      Array.from({ length: count }, (_, n) =>
        circle.api.client.submit({
          executor: 'packages',
          code: prints(String(n)),
          dependencies,
          retry: { max_attempts: 3 },
        }),
      ),
    )
  }

  function finals(submitted: readonly ExecutionRecord[]): Promise<ExecutionRecord[]> {
    return Promise.all(submitted.map(({ id }) => circle.api.client.final(id)))
  }

  async function lockOf({ id }: ExecutionRecord): Promise<string> {
    return (await circle.api.client.status(id, 'locked')).locked_by!
  }

  function job(id: string): Promise<Job> {
    return circle.api.client.get<Job>(`/jobs/${id}`)
  }

  it('wait together for one installation, hold no slot meanwhile, and all succeed', async () => {
    const waiting = await submit(['gate-1'], 20)
    const locks = await Promise.all(waiting.map(lockOf))
    expect(new Set(locks).size).toBe(1)
    const other = await circle.api.client.run({ executor: 'packages', code: prints('meanwhile') })
    expect(other).toMatchObject({ outcome: 'succeeded', stdout: 'meanwhile' })
    open('gate-1')
    const records = await finals(waiting)
    expect(records.map(({ outcome, stdout }) => `${outcome} ${stdout}`)).toEqual(
      waiting.map((_, n) => `succeeded ${n}`),
    )
    expect(await job(locks[0]!)).toMatchObject({ status: 'completed', progress: { phase: 'done' } })
  })

  it('go on when an installation succeeds at its second attempt, whose job keeps the error of the first', async () => {
    const waiting = await submit(['fail-once', 'gate-2'], 3)
    const locked_by = await lockOf(waiting[0]!)
    open('gate-2')
    for (const record of await finals(waiting)) expect(record).toMatchObject({ outcome: 'succeeded' })
    expect(await job(locked_by)).toMatchObject({
      attempt: 2,
      attempts: [
        { attempt: 1, outcome: 'infra_error', error: 'it failed' },
        { attempt: 2, outcome: 'succeeded' },
      ],
    })
  })

  it.each([
    ['fail', 'it failed'],
    ['refuse', 'it is refused'],
  ])('end with its cause when it comes to nothing: %s', async (dependency, cause) => {
    const [record] = await finals(await submit([dependency], 1))
    expect(record).toMatchObject({
      outcome: 'infra_error',
      completed: false,
      error: `its dependencies were not installed: ${cause}`,
    })
  })

  it('cancel it with the last of them', async () => {
    const { client } = circle.api
    const [one, other] = await submit(['gate-never'], 2)
    const locked_by = await lockOf(one!)
    await lockOf(other!)
    await until('it runs', async () => (await job(locked_by)).progress !== null)
    expect(await client.cancel(one!.id)).toMatchObject({ status: 'canceled' })
    expect(await job(locked_by)).toMatchObject({ outcome: null })
    await client.cancel(other!.id)
    await until('it is canceled', async () => (await job(locked_by)).status === 'canceled')
  })

  it('end when somebody cancels the installation', async () => {
    const [one] = await submit(['gate-never'], 1)
    await circle.api.client.post(`/jobs/${await lockOf(one!)}/cancel`)
    expect(await circle.api.client.final(one!.id)).toMatchObject({
      outcome: 'infra_error',
      error: 'its dependencies were not installed: that was canceled',
    })
  })

  it('are served by one installation on each agent that callers ask to prepare', async () => {
    const { client } = circle.api
    const second = await agentForTest({ api: circle.api, fake: true, slots: 2, timeScale: 0.1 })
    const asked = await client.post<Job>('/jobs', {
      type: 'runtime.install',
      params: { code_executor: 'packages', dependencies: ['sleep-100'] },
    })
    const done = await until('it is completed', async () => {
      const now = await job(asked.id)
      return now.status === 'completed' ? now : undefined
    })
    expect(new Set(done.parts.map(({ agent_id, status }) => `${agent_id} ${status}`))).toEqual(
      new Set([circle.agent.id, second.id].map((id) => `${id} completed`)),
    )
    for (const record of await finals(await submit(['sleep-100'], 8)))
      expect(record).toMatchObject({ outcome: 'succeeded' })
    const { data } = await client.get<Page<JobSummary>>('/jobs?type=runtime.install')
    expect(data[0]!.created_at <= done.ended_at!).toBe(true)
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
    const { agent } = circle
    await agent.stop()
    await agent.start({ ERRAND_CRASH_AT: point })
    const waiting = await submit([`sleep-${point.length}`], 6)
    await until('it has died', () => !agent.process.alive)
    await agent.start()
    const records = await finals(waiting)
    expect(records.map(({ outcome, error }) => error ?? outcome)).toEqual(records.map(() => 'succeeded'))
  })

  it('lose nothing when the API is killed at any moment', async () => {
    const { api } = circle
    const waiting: ExecutionRecord[] = []
    for (let n = 0; n < 6; n++) {
      waiting.push(...(await submit([`sleep-${300 + n}`], 3)))
      // From before the first lock to after the last execution has ended.
      await new Promise((resolve) => setTimeout(resolve, n * 150))
      await api.kill()
      await api.start()
    }
    const records = await finals(waiting)
    expect(records.map(({ outcome, error }) => error ?? outcome)).toEqual(records.map(() => 'succeeded'))
  })
})
