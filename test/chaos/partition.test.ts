import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { scaleTime, sizeLimits } from '@errand/shared'
import { afterAll, beforeAll, expect, inject, it, onTestFailed, vi } from 'vitest'
import { openNetworkNamespace, type NetworkNamespace } from '../../infra/network-namespace.ts'
import { startAgent, type TestAgent } from '../system/harness/agent.ts'
import { startApi, type Api } from '../system/harness/api.ts'
import { atOnce } from '../system/harness/at-once.ts'
import { markedProcesses } from '../system/harness/marked-processes.ts'
import { until } from '../system/harness/until.ts'
import { memoryOf } from './memory-of.ts'

const timeScale = 0.1
const time = scaleTime(timeScale)
const executor = 'local'
const config = JSON.stringify({ code_executors: { local: { local: { output_limit_kb: 64 * 1024 } } } })

// They wait for whole lease periods, and other test files share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })

let network: NetworkNamespace
let api: Api
let agent: TestAgent
beforeAll(async () => {
  network = await openNetworkNamespace()
  // The agent's network reaches it by another address than its clients.
  api = await startApi({
    database: { server: inject('databaseUrl') },
    timeScale,
    config,
    env: { ERRAND_HOST: '0.0.0.0' },
  })
  const url = `http://${network.hostAddress}:${api.port}`
  agent = await startAgent({ api, url, within: network.within, timeScale, slots: 4 })
})
afterAll(async () => {
  await agent?.close()
  await api?.close()
  await network?.close()
})

/** Counts for so many seconds, five numbers each; its mark is in its command line. */
const counter = (seconds: number) => ({
  executor,
  code: 'import sys, time\nfor n in range(int(sys.argv[1])):\n    print(n, flush=True)\n    time.sleep(0.2)',
  args: [String(seconds * 5), randomUUID()],
})
const counted = (seconds: number) => Array.from({ length: seconds * 5 }, (_, n) => `${n}\n`).join('')
const isLeft = ({ args }: { args: string[] }) => markedProcesses(args[1]!).length > 0
const printLogs = () => onTestFailed(() => console.error(api.log.slice(-8_000), agent.log.slice(-8_000)))

it('NET-01: a silence shorter than the lease costs nothing', async () => {
  printLogs()
  const { id } = await api.client.submit(counter(3))
  await api.client.status(id, 'running')
  await network.drop()
  await sleep(time.leaseMs / 6)
  await network.heal()
  expect(await api.client.final(id)).toMatchObject({ outcome: 'succeeded', attempt: 1, stdout: counted(3) })
})

it('NET-02: an agent that stays cut off ends what it runs by its own clock, and nothing it says later counts', async () => {
  printLogs()
  const once = counter(60)
  const again = { ...counter(8), retry: { max_attempts: 2 } }
  const [lost, retried] = await Promise.all([api.client.submit(once), api.client.submit(again)])
  await Promise.all([lost, retried].map(({ id }) => api.client.status(id, 'running')))
  await network.drop()
  const begun = performance.now()
  const tooLate = (ms: number) => ({ withinMs: ms + 5_000 })
  // At its lease's end what may be tried elsewhere, which is before the API gives it to another.
  await until('what has attempts left has ended', () => !isLeft(again), tooLate(time.leaseMs))
  expect(isLeft(once)).toBe(true)
  const record = await api.client.final(lost.id)
  expect(record).toMatchObject({ status: 'failed', outcome: 'lost', attempt: 1 })
  await api.client.status(retried.id, 'waiting')
  // Nothing tells it that nobody waits for this one any more.
  await until('what is lost has ended', () => !isLeft(once), tooLate(time.lostAfterMs))
  expect(performance.now() - begun).toBeGreaterThan(time.lostAfterMs - time.renewEveryMs - 1_000)
  await network.heal()
  expect(await api.client.final(retried.id)).toMatchObject({
    outcome: 'succeeded',
    attempt: 2,
    stdout: counted(8),
  })
  expect(await api.client.execution(lost.id)).toEqual(record)
})

it('NET-04: connections that are reset again and again cost no byte and double no result', async () => {
  printLogs()
  const running = atOnce(8, 20, () => api.client.run(counter(1)))
  // As every five seconds for a minute: never does a session hold for long enough to begin with the first window again.
  for (let pulse = 0; pulse < 12; pulse++) {
    await network.reset()
    await network.heal()
    await sleep(time.pingEveryMs / 2)
  }
  const records = await running
  for (const record of records)
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1, stdout: counted(1) })
})

it('NET-12: an agent that was stopped for longer than its lease finds that out before it says anything', async () => {
  printLogs()
  const job = counter(60)
  const { id } = await api.client.submit(job)
  await api.client.status(id, 'running')
  agent.process.child.kill('SIGSTOP')
  const record = await api.client.final(id)
  expect(record).toMatchObject({ outcome: 'lost', attempt: 1 })
  const output = await api.client.output(id, 'stdout')
  agent.process.child.kill('SIGCONT')
  await until('its program has ended', () => !isLeft(job))
  expect(await api.client.run({ executor, code: 'print(1)' })).toMatchObject({ outcome: 'succeeded' })
  expect(await api.client.execution(id)).toEqual(record)
  // What the program wrote meanwhile was not taken either.
  expect((await api.client.output(id, 'stdout')).equals(output)).toBe(true)
})

it('NET-06: a flood behind a slow link waits on the disk, and no renewal waits behind it', async () => {
  printLogs()
  const mebibytes = 24
  const body = {
    executor,
    code: `import sys\nfor n in range(${mebibytes}): sys.stdout.write('x' * 1024 * 1024)`,
    limits: { output_limit_kb: mebibytes * 1024 },
  }
  const { epoch } = (await agent.record())!
  // What such a flood takes when nothing is slow: buffers that were read wait for a collection.
  expect(await api.client.run(body)).toMatchObject({ outcome: 'succeeded' })
  const before = memoryOf(agent.process.pid)
  // As 512 kbit/s are to a whole lease.
  await network.slowDown(512 / timeScale)
  const { id } = await api.client.submit(body)
  await api.client.status(id, 'running')
  let most = 0
  const deadline = performance.now() + 2 * time.leaseMs
  await until('two leases have passed', () => {
    most = Math.max(most, memoryOf(agent.process.pid))
    return performance.now() > deadline
  })
  const stored = (await api.client.execution(id)).stdout_bytes
  expect(stored).toBeGreaterThan(0)
  expect(stored).toBeLessThan(mebibytes * 1024 * 1024)
  // Its session is the same: renewals came in time, with as much as the window lets be on its way before them.
  expect(await agent.record()).toMatchObject({ epoch, status: 'online' })
  expect(most - before).toBeLessThan(32 * 1024 * 1024 + sizeLimits.outputWindow)
  // Another agent is not slowed.
  const other = await startAgent({ api, timeScale, slots: 1, labels: { way: 'short' } })
  await api.client.post(`/agents/${agent.id}/drain`)
  expect(await api.client.run({ executor, code: 'print(1)' })).toMatchObject({
    outcome: 'succeeded',
    agent_id: other.id,
  })
  await other.close()
  await network.slowDown(1_000_000)
  expect(await api.client.final(id)).toMatchObject({
    outcome: 'succeeded',
    stdout_bytes: mebibytes * 1024 * 1024,
    stdout_truncated: false,
  })
})
