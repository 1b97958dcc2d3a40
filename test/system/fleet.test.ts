import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { agentForTest, apiForTest, databases, sharedCircle } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { until } from './harness/until.ts'

const executor = 'sandboxed'
const config = JSON.stringify({ code_executors: { local: { sandboxed: {}, plain: { sandbox: 'none' } } } })

describe.each(databases)('an agent, on %s', (database) => {
  const circle = sharedCircle({ database, config, slots: 2 })

  it('that drains finishes what it has and takes nothing until it is resumed', async () => {
    const { api, agent } = circle
    const running = await api.client.submit({ executor, code: 'import time; time.sleep(2); print("whole")' })
    await api.client.status(running.id, 'running')
    expect(await api.client.post(`/agents/${agent.id}/drain`)).toMatchObject({ status: 'draining' })
    const later = await api.client.submit({ executor, code: 'print("later")' })
    expect(await api.client.final(running.id)).toMatchObject({ outcome: 'succeeded', stdout: 'whole\n' })
    expect(await api.client.execution(later.id)).toMatchObject({ status: 'waiting', attempt: 0 })
    // Also after a new connect.
    await agent.restart()
    expect(await agent.record()).toMatchObject({ status: 'draining' })
    expect(await api.client.execution(later.id)).toMatchObject({ status: 'waiting', attempt: 0 })
    expect(await api.client.post(`/agents/${agent.id}/resume`)).toMatchObject({ status: 'online' })
    expect(await api.client.final(later.id)).toMatchObject({ outcome: 'succeeded', stdout: 'later\n' })
  })

  it('that is revoked is cut off within two seconds, and its jobs are lost', async () => {
    const api = await apiForTest({ database, config })
    const agent = await agentForTest({ api, slots: 2 })
    const mark = randomUUID()
    const { id } = await api.client.submit({ executor, code: 'import time; time.sleep(600)', args: [mark] })
    await api.client.status(id, 'running')
    const asked = performance.now()
    expect((await api.client.request('DELETE', `/agents/${agent.id}`)).status).toBe(204)
    await until('the agent says that it is refused', () => /refuses this agent|was revoked/.test(agent.log))
    expect(performance.now() - asked).toBeLessThan(2_000)
    expect(await api.client.final(id, 45_000)).toMatchObject({ outcome: 'lost', status: 'failed' })
    expect(await agent.process.ended()).toBe(3)
    expect(markedProcesses(mark)).toEqual([])
    expect((await api.client.get<{ data: unknown[] }>('/agents')).data).toEqual([])
    // It does not come back by itself, nor with its key.
    agent.launch()
    expect(await agent.process.ended()).toBe(3)
  })

  it('gets nothing that its policy leaves to other backends, while another takes it', async () => {
    const { api, agent } = circle
    await api.client.post(`/agents/${agent.id}/drain`)
    await agentForTest({ api, policy: { backends: ['docker'] } })
    const { id } = await api.client.submit({ executor, code: 'print(1)' })
    expect(await api.client.execution(id)).toMatchObject({ status: 'waiting', attempt: 0 })
    await api.client.post(`/agents/${agent.id}/resume`)
    const record = await api.client.final(id)
    expect(record).toMatchObject({ outcome: 'succeeded', agent_id: agent.id })
    expect(record.isolation).toMatchObject({ sandbox: 'bubblewrap', mount_namespace: true, network: 'none' })
  })

  it('refuses what its own policy does not allow, whatever the API says', async () => {
    const { api } = circle
    const record = await api.client.run({ executor: 'plain', code: 'print(1)' })
    expect(record).toMatchObject({ outcome: 'rejected', status: 'failed', stdout: '', isolation: null })
    expect(record.error).toContain('allow_unsandboxed')
  })
})
