import { setTimeout as sleep } from 'node:timers/promises'
import { scaleTime } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { startPostgres } from '../../infra/postgres.ts'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { startDatabaseProxy } from './database-proxy.ts'
import { memoryOf } from './memory-of.ts'

const timeScale = 0.1
/** An outage of a minute, two leases, is promised to cost nothing. */
const outageMs = 2 * scaleTime(timeScale).leaseMs
const mebibyte = 1024 * 1024
const executor = 'local'
const config = JSON.stringify({ code_executors: { local: { local: { output_limit_kb: 64 * 1024 } } } })

/** Prints all the time, until after the outage. */
const steady = `
import time
for n in range(${Math.round(outageMs / 100) + 20}):
    print(n, flush=True)
    time.sleep(0.1)
`
const counted = Array.from({ length: Math.round(outageMs / 100) + 20 }, (_, n) => `${n}\n`).join('')

/** As fast as it can, once the outage has begun. */
const flood = `
import sys, time
time.sleep(2)
for n in range(24): sys.stdout.write('x' * 1024 * 1024)
`

it('CR-24: a database that is away or answers nothing for two leases costs no running job, and no memory of the API', async () => {
  const postgres = await startPostgres({ fsync: false })
  onTestFinished(() => postgres.stop())
  const proxy = await startDatabaseProxy(await postgres.createDatabase())
  onTestFinished(() => proxy.close())
  const api = await apiForTest({ database: { url: proxy.url }, timeScale, config })
  await agentForTest({ api, timeScale, slots: 3 })
  const outages = {
    killed: [() => postgres.kill(), () => postgres.start()],
    silent: [() => proxy.pause(), () => proxy.resume()],
  } as const
  for (const [how, [begin, end]] of Object.entries(outages)) {
    const bodies = [
      { executor, code: steady },
      { executor, code: flood, limits: { output_limit_kb: 24 * 1024 } },
    ]
    const ids = await Promise.all(bodies.map(async (body) => (await api.client.submit(body)).id))
    await Promise.all(ids.map((id) => api.client.status(id, 'running')))
    const before = memoryOf(api.process.pid)
    let most = 0
    const watching = setInterval(() => (most = Math.max(most, memoryOf(api.process.pid))), 100)
    await begin()
    await sleep(outageMs)
    clearInterval(watching)
    await end()
    const [counter, flooder] = await Promise.all(ids.map((id) => api.client.final(id, 120_000)))
    expect({ how, ...counter }).toMatchObject({ outcome: 'succeeded', attempt: 1, stdout: counted })
    expect({ how, ...flooder }).toMatchObject({
      outcome: 'succeeded',
      attempt: 1,
      stdout_bytes: 24 * mebibyte,
    })
    // What the agent has sent and nobody could store is less than its window; it keeps the rest on its disk.
    expect(most - before).toBeLessThan(32 * mebibyte)
  }
})
