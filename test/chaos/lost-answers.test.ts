import { inject, expect, it, onTestFinished } from 'vitest'
import { createDatabase, dropDatabase } from '../../infra/create-database.ts'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { until } from '../system/harness/until.ts'
import { hotStatements, startDatabaseProxy } from './database-proxy.ts'

const timeScale = 0.2
const config = JSON.stringify({ code_executors: { local: { local: {} } } })

/** Writes, on both streams, what tells a gap from a repeat; slowly enough that it goes out in pieces. */
const code = `
import sys, time
for n in range(8):
    print(n, 'x' * 4000, flush=True)
    print(n, file=sys.stderr, flush=True)
    time.sleep(0.1)
`
const stdout = Array.from({ length: 8 }, (_, n) => `${n} ${'x'.repeat(4_000)}\n`).join('')
const stderr = Array.from({ length: 8 }, (_, n) => `${n}\n`).join('')

it('CR-25: an answer that the database gave and nobody got changes nothing: submit, claim, output, finish', async () => {
  const database = await createDatabase(inject('databaseUrl'))
  onTestFinished(() => dropDatabase(database))
  const proxy = await startDatabaseProxy(database)
  onTestFinished(() => proxy.close())
  const api = await apiForTest({ database: { url: proxy.url }, timeScale, config })
  const agent = await agentForTest({ api, timeScale, slots: 1 })
  const submit = (key: string) => api.client.submitSurely({ executor: 'local', code, labels: { key } }, key)

  for (const [act, text] of Object.entries(hotStatements)) {
    // For the claim: what is submitted while nobody is free is claimed later.
    const before = act === 'claim' ? [await submit('before-claim')] : []
    if (act === 'claim') await api.client.status(before[0]!.id, 'running')
    const lost = proxy.loseAnswerTo(text)
    const { id } = await submit(act)
    await lost
    for (const one of [...before.map((record) => record.id), id]) {
      const record = await api.client.final(one)
      expect.soft(record, act).toMatchObject({ outcome: 'succeeded', attempt: 1, stderr })
      expect.soft((await api.client.output(one, 'stdout')).toString() === stdout, act).toBe(true)
    }
  }
  // One execution for each key, whatever was repeated; the agent has nothing left.
  expect(await api.client.executions('?count=true&limit=1')).toMatchObject({ total: 5 })
  await until('the agent holds nothing', async () => (await agent.record())!.jobs_held === 0)
})
