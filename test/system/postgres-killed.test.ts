import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { startPostgres } from '../../infra/postgres.ts'
import type { Api } from './harness/api.ts'
import { atOnce } from './harness/at-once.ts'
import { Refused } from './harness/client.ts'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const count = 120
/** What callers may have to wait for an answer while the database is away. */
const answeredWithinMs = 5_000
/** And after its return until it is used again. */
const readyWithinMs = 10_000

it('CR-23: loses nothing that was acknowledged when PostgreSQL is killed three times, and says meanwhile that it is away', async () => {
  const postgres = await startPostgres({ fsync: false })
  onTestFinished(() => postgres.stop())
  const api = await apiForTest({ database: { url: await postgres.createDatabase() } })
  await agentForTest({ api, slots: 4 })
  const acknowledged = new Set<string>()
  let ended = 0
  const execute = async (n: number) => {
    const body = { executor: 'local_python_default', code: `print(${n})` }
    const { id } = await api.client.submitSurely(body, `number-${n}`)
    acknowledged.add(id)
    const record = await api.client.final(id)
    ended += 1
    return record
  }
  const kill = async (after: number) => {
    await until(`${after} have ended`, () => ended >= after)
    const { pid } = api.process
    await postgres.kill()
    await answersThatItIsAway(api)
    await postgres.start()
    const ready = async () => (await api.client.request('GET', '/readyz')).ok
    await until('it is ready again', ready, { withinMs: readyWithinMs })
    expect(api.process.pid).toBe(pid)
    expect(api.process.alive).toBe(true)
  }
  const kills = async () => {
    for (const part of [1, 2, 3]) await kill((part * count) / 4)
  }

  const [records] = await Promise.all([atOnce(8, count, execute), kills()])

  expect(records.map(({ outcome, stdout }) => `${outcome} ${stdout}`)).toEqual(
    Array.from({ length: count }, (_, n) => `succeeded ${n}\n`),
  )
  expect(new Set(records.map(({ id }) => id))).toEqual(acknowledged)
  expect(acknowledged.size).toBe(count)
  expect(new Set(records.map(({ attempt }) => attempt))).toEqual(new Set([1]))
  expect(await api.client.executions('?count=true&limit=1')).toMatchObject({ total: count })
})

/** Reads and writes, for as long as a caller would notice, get a 503 that says when to come back; none hangs. */
async function answersThatItIsAway(api: Api): Promise<void> {
  const asks = [
    ['GET', '/executions'],
    ['GET', '/agents'],
    ['GET', `/executions/${crypto.randomUUID()}`],
    ['GET', `/executions/${crypto.randomUUID()}/events`],
    ['POST', `/executions/${crypto.randomUUID()}/cancel`],
    ['POST', '/executions', { executor: 'local_python_default', code: '' }],
  ] as const
  for (let round = 0; round < 2; round++) {
    for (const [method, path, body] of asks) {
      const asked = performance.now()
      const response = await api.client.request(method, path, body)
      expect.soft(performance.now() - asked, `${method} ${path}`).toBeLessThan(answeredWithinMs)
      expect.soft(response.status, `${method} ${path}`).toBe(503)
      expect.soft(response.headers.get('retry-after')).toMatch(/^\d+$/)
      expect.soft(response.headers.get('content-type')).toBe('application/problem+json')
      await response.body?.cancel()
    }
    await sleep(300)
  }
  expect((await api.client.request('GET', '/livez')).status).toBe(200)
  await until('it says that it is not ready', async () => {
    const { status } = await api.client.request('GET', '/readyz')
    return status === 503
  })
  await expect(api.client.submit({ executor: 'local_python_default', code: '' })).rejects.toThrow(Refused)
}
