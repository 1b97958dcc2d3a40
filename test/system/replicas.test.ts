import { randomUUID } from 'node:crypto'
import {
  closeCode,
  emptyResult,
  type ExecutionRecord,
  type Executor,
  type ExecutorCheck,
  type HostKeys,
  type JobEvents,
} from '@errand/shared'
import { afterAll, beforeAll, describe, expect, inject, it, onTestFailed } from 'vitest'
import type { TestAgent } from './harness/agent.ts'
import { startAgent } from './harness/agent.ts'
import type { Client } from './harness/client.ts'
import { readEvents, readEventStream } from './harness/event-reader.ts'
import { agentForTest } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { enrolScripted, ScriptedSocket } from './harness/scripted-agent.ts'
import { startReplicas, type Replicas } from './harness/replicas.ts'
import { until } from './harness/until.ts'

const config = JSON.stringify({
  code_executors: {
    local: {
      sandboxed: { agent_labels: { kind: 'real' } },
      moved: { agent_labels: { zone: 'moved' } },
      twice: { agent_labels: { zone: 'twice' } },
      packages: {
        agent_labels: { kind: 'fake' },
        allow_dependencies: true,
        index_url: 'http://127.0.0.1:9/',
      },
    },
  },
})
const executor = 'sandboxed'

describe('what is asked of one replica while the agents are connected to another', () => {
  let replicas: Replicas
  let real: TestAgent
  let fake: TestAgent
  /** Of the replica that is asked. */
  let client: Client
  beforeAll(async () => {
    replicas = await startReplicas(2, { server: inject('databaseUrl'), config })
    const [asked, holding] = replicas.apis as [(typeof replicas.apis)[0], (typeof replicas.apis)[0]]
    client = asked.client
    real = await startAgent({ api: holding, slots: 2, labels: { kind: 'real' } })
    fake = await startAgent({ api: holding, slots: 2, labels: { kind: 'fake' }, fake: true })
  })
  afterAll(async () => {
    await Promise.all([real?.close(), fake?.close()])
    await replicas?.close()
  })
  const showLogsWhenFailed = () =>
    onTestFailed(() => console.error([replicas, real, fake].map(({ log }) => log.slice(-10_000)).join('\n')))

  it('runs are submitted, waited for and told of as they happen, without waiting for a poll', async () => {
    showLogsWhenFailed()
    const began = performance.now()
    for (let n = 0; n < 10; n++) {
      const record = await client.run({ executor, code: `print(${n})` })
      expect(record).toMatchObject({ outcome: 'succeeded', stdout: `${n}\n`, agent_id: real.id })
    }
    // The poll alone would take one second for each, and mostly two.
    expect(performance.now() - began).toBeLessThan(10_000)

    const code = 'import time\nfor n in range(8): print(n, flush=True); time.sleep(0.2)'
    const { id } = await client.submit({ executor, code })
    const told: string[] = []
    const output: Buffer[] = []
    for await (const event of readEvents(client, id)) {
      told.push(event.name)
      if (event.name === 'output') output.push(Buffer.from(event.data.base64, 'base64'))
    }
    expect(told.at(-1)).toBe('end')
    expect(Buffer.concat(output).toString()).toBe(Array.from({ length: 8 }, (_, n) => `${n}\n`).join(''))
    // As it happened: 1.6 s of polls would have brought three pieces.
    expect(output.length).toBeGreaterThan(4)
  })

  it('a cancel is final within a second', async () => {
    showLogsWhenFailed()
    const mark = randomUUID()
    const tookMs: number[] = []
    for (let n = 0; n < 20; n++) {
      const { id } = await client.submit({
        executor,
        code: 'input() if 0 else __import__("time").sleep(600)',
        args: [mark],
      })
      await client.status(id, 'running')
      const asked = performance.now()
      await client.cancel(id)
      expect(await client.final(id)).toMatchObject({ outcome: 'canceled' })
      tookMs.push(performance.now() - asked)
    }
    // Promise 6.
    expect(tookMs.toSorted((a, b) => a - b)[18]).toBeLessThan(1_000)
    expect(markedProcesses(mark)).toEqual([])
  })

  it('jobs that bring something are followed line by line', async () => {
    showLogsWhenFailed()
    const body = {
      executor: 'packages',
      code: JSON.stringify({ steps: [] }),
      dependencies: ['sleep-300', 'a', 'sleep-400'],
    }
    const { id } = await client.submit(body)
    const { locked_by } = await client.status(id, 'locked')
    const lines: string[] = []
    const headers = { accept: 'text/event-stream' }
    for await (const event of readEventStream<JobEvents>(client, `/jobs/${locked_by}/logs`, headers))
      if (event.name === 'log') lines.push(event.data.message)
    expect(lines).toEqual(expect.arrayContaining(body.dependencies.map((one) => `installing ${one}`)))
    expect(await client.final(id)).toMatchObject({ outcome: 'succeeded' })
  })

  it('its agents are asked whether an executor works, and which host keys a target presents', async () => {
    showLogsWhenFailed()
    const checked = await client.post<ExecutorCheck>(`/executors/${executor}/check`)
    expect(checked).toMatchObject({ ok: true, agents: [{ agent_id: real.id, ok: true }] })
    // Its password is read by the replica that asks the agent.
    const target = { host: '127.0.0.1', port: 1, username: 'u', password: 'secret', enabled: false }
    const more = { name: 'target', executor_type: 'ssh', agent_labels: { kind: 'real' } }
    await client.post<Executor>('/executors', { ...more, ...target })
    const seen = await client.post<HostKeys>('/executors/target/host-key')
    const error = expect.stringMatching(/^cannot reach 127\.0\.0\.1:1: .*ECONNREFUSED/)
    expect(seen).toMatchObject({ agents: [{ agent_id: real.id, keys: [], error }] })
    const found = await client.post<ExecutorCheck>('/executors/target/check')
    expect(found.agents).toMatchObject([{ agent_id: real.id, ok: false }])
    expect(found.agents[0]!.findings.map(({ what }) => what)).not.toContain('agent')
  })

  it('of two sockets of one agent at two replicas the newer wins, and only that may write (NET-17)', async () => {
    showLogsWhenFailed()
    const [asked, holding] = replicas.apis.map(({ url }) => url) as [string, string]
    const identity = await enrolScripted(client, { zone: 'twice' })
    const older = new ScriptedSocket(holding)
    await older.open(identity)
    older.send({ type: 'credits', run: 1, ssh: 0, maintenance: 0 })
    const { id } = await client.submit({ executor: 'twice', code: 'pass' })
    const { job } = await older.take('assign')
    const finish = (of: ScriptedSocket, exit_code: number) =>
      of.send({
        type: 'finish',
        id,
        fence: job.fence,
        inline: { stdout: 0, stderr: 0 },
        result: {
          ...emptyResult('scripted'),
          phase: 'run',
          outcome: exit_code === 0 ? 'succeeded' : 'failed',
          exit_code,
        },
      })
    const newer = new ScriptedSocket(asked)
    const { jobs } = await newer.open(identity, [{ id, fence: job.fence, state: 'starting' }])
    expect(jobs).toMatchObject([{ id, verdict: 'keep' }])
    // It may not have heard of the other one yet.
    finish(older, 1)
    expect(await older.closed).toBe(closeCode.replaced)
    expect(await client.execution(id)).toMatchObject({ outcome: null })
    finish(newer, 0)
    expect(await newer.take('finished')).toMatchObject({ verdict: 'stored' })
    expect(await client.execution(id)).toMatchObject({ outcome: 'succeeded', exit_code: 0 })
    newer.ws.close()
  })

  it('labels, drain and resume reach them', async () => {
    showLogsWhenFailed()
    const ran = (record: ExecutionRecord) =>
      expect(record).toMatchObject({ outcome: 'succeeded', agent_id: real.id })
    const moved = await client.submit({ executor: 'moved', code: 'pass' })
    expect((await client.execution(moved.id)).waiting_reason).toContain('zone=moved')
    const labels = { kind: 'real', zone: 'moved' }
    expect((await client.request('PATCH', `/agents/${real.id}`, { labels })).status).toBe(200)
    ran(await client.final(moved.id))

    await client.post(`/agents/${real.id}/drain`)
    const { id } = await client.submit({ executor, code: 'pass' })
    await until('it is known to wait', async () =>
      (await client.execution(id)).waiting_reason?.includes('draining'),
    )
    await client.post(`/agents/${real.id}/resume`)
    ran(await client.final(id))
  })

  it('an agent that is revoked is cut off within two seconds, and nothing that it says is taken from then on (AU-08)', async () => {
    showLogsWhenFailed()
    const agent = await agentForTest({ api: replicas.apis[1]!, labels: { kind: 'else', zone: 'moved' } })
    await client.post(`/agents/${real.id}/drain`)
    const mark = randomUUID()
    const code = 'import time\nfor n in range(6000): print(n, flush=True); time.sleep(0.01)'
    const { id } = await client.submit({ executor: 'moved', code, args: [mark] })
    await until('it has printed', async () => (await client.output(id, 'stdout')).length > 0)
    const asked = performance.now()
    expect((await client.request('DELETE', `/agents/${agent.id}`)).status).toBe(204)
    const record = await client.execution(id)
    expect(record).toMatchObject({
      status: 'failed',
      outcome: 'lost',
      error: 'its agent was revoked',
      agent_id: agent.id,
    })
    await until('the agent says that it is refused', () => /refuses this agent|was revoked/.test(agent.log))
    expect(performance.now() - asked).toBeLessThan(2_000)
    expect(await agent.process.ended()).toBe(3)
    expect(markedProcesses(mark)).toEqual([])
    expect(await client.execution(id)).toEqual(record)
    expect((await client.output(id, 'stdout')).length).toBe(record.stdout_bytes)
    await client.post(`/agents/${real.id}/resume`)
  })
})
