import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { databases, sharedCircle } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { until } from './harness/until.ts'

const executor = 'local_python_default'
const untilKilled = `
import signal, sys, time
for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(one, signal.SIG_IGN)
print('started', flush=True)
time.sleep(600)
`

describe.each(databases)('a cancel, on %s', (database) => {
  const circle = sharedCircle({ database, slots: 4 })

  it('ends what waits, at once and without an agent', async () => {
    const { api, agent } = circle
    await api.client.post(`/agents/${agent.id}/drain`)
    const { id } = await api.client.submit({ executor, code: 'pass' })
    const answer = await api.client.request('POST', `/executions/${id}/cancel`)
    expect(answer.status).toBe(202)
    expect(await api.client.execution(id)).toMatchObject({
      status: 'canceled',
      outcome: 'canceled',
      completed: false,
      success: false,
      attempt: 0,
      exit_code: null,
      start_time_ms: null,
    })
    // A second one finds it canceled.
    expect((await api.client.request('POST', `/executions/${id}/cancel`)).status).toBe(200)
    await api.client.post(`/agents/${agent.id}/resume`)
    expect(await api.client.run({ executor, code: 'print(1)' })).toMatchObject({ agent_id: agent.id })
    expect(await api.client.execution(id)).toMatchObject({ status: 'canceled', attempt: 0 })
  })

  it('kills what runs, also what ignores other signals, and keeps its output', async () => {
    const { api } = circle
    const mark = randomUUID()
    const tookMs: number[] = []
    for (let n = 0; n < 20; n++) {
      const { id } = await api.client.submit({ executor, code: untilKilled, args: [mark], timeout_sec: 300 })
      await until('it has printed', async () => (await api.client.output(id, 'stdout')).length > 0)
      const asked = performance.now()
      expect((await api.client.request('POST', `/executions/${id}/cancel`)).status).toBe(202)
      const record = await api.client.final(id)
      tookMs.push(performance.now() - asked)
      expect(record).toMatchObject({
        status: 'canceled',
        outcome: 'canceled',
        completed: false,
        attempt: 1,
        stdout: 'started\n',
      })
    }
    expect(markedProcesses(mark)).toEqual([])
    // Promise 6: 95 of 100 within a second.
    const p95 = tookMs.toSorted((a, b) => a - b)[18]!
    expect(p95).toBeLessThan(1_000)
  })

  it('of many at once ends each, whatever had become of it', async () => {
    const { api } = circle
    const ids = await Promise.all(
      Array.from({ length: 40 }, async (_, n) => {
        const { id } = await api.client.submit({
          executor,
          code: `import time; time.sleep(${(n % 4) * 0.1})`,
        })
        await api.client.request('POST', `/executions/${id}/cancel`)
        return id
      }),
    )
    const records = await Promise.all(ids.map((id) => api.client.final(id)))
    for (const { outcome } of records) expect(['canceled', 'succeeded']).toContain(outcome)
    expect(await api.client.run({ executor, code: 'print("goes on")' })).toMatchObject({
      outcome: 'succeeded',
    })
  })

  it('is refused when it has ended by itself, and changes nothing', async () => {
    const { api } = circle
    const record = await api.client.run({ executor, code: 'print(1)' })
    await expect(api.client.cancel(record.id)).rejects.toMatchObject({ status: 409, code: 'already_final' })
    expect(await api.client.execution(record.id)).toEqual(record)
  })
})
