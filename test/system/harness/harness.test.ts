import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, expect, it, onTestFinished } from 'vitest'
import { agentForTest, apiForTest, databases } from './for-test.ts'
import { startLink } from './link.ts'

const hello = JSON.stringify({ steps: [{ stdout: 'hello\n' }, { exit: 0 }] })
const slow = JSON.stringify({ steps: [{ sleep_ms: 500 }, { stdout: 'hello\n' }, { exit: 0 }] })

describe.each(databases)('the harness, on %s', (database) => {
  it('starts an API and a scripted agent, and starts them again on the same port and data', async () => {
    const api = await apiForTest({ database, timeScale: 0.2 })
    const agent = await agentForTest({ api, fake: true, slots: 2, timeScale: 0.2 })
    const run = () => api.client.run({ executor: 'local_python_default', code: hello })
    const first = await run()
    expect(first).toMatchObject({ outcome: 'succeeded', stdout: 'hello\n', agent_id: agent.id })
    await api.kill()
    await api.start()
    expect(await run()).toMatchObject({ outcome: 'succeeded', agent_id: agent.id })
    expect(await api.client.execution(first.id)).toEqual(first)
    await agent.kill()
    const waiting = await api.client.submit({ executor: 'local_python_default', code: hello })
    await agent.start()
    expect(await api.client.final(waiting.id)).toMatchObject({ outcome: 'succeeded', agent_id: agent.id })
  })
})

describe('the link', () => {
  it('cuts an agent off and lets it back', async () => {
    const api = await apiForTest({ database: 'postgres', timeScale: 0.2 })
    const link = await startLink(api.port)
    onTestFinished(() => link.close())
    const agent = await agentForTest({ api, url: link.url, fake: true, timeScale: 0.2 })
    const { id } = await api.client.submit({ executor: 'local_python_default', code: slow })
    await api.client.status(id, 'running')
    link.cut()
    await api.client.get('/version')
    link.restore()
    expect(await api.client.final(id)).toMatchObject({
      outcome: 'succeeded',
      stdout: 'hello\n',
      agent_id: agent.id,
    })
  })
})

describe('what the harness started', () => {
  it('is gone after it was closed', async () => {
    const api = await apiForTest({ database: 'postgres' })
    const agent = await agentForTest({ api, fake: true })
    await agent.close()
    await api.close()
    expect([agent.process.alive, api.process.alive]).toEqual([false, false])
    const left = readdirSync(tmpdir()).filter((one) => api.dir.endsWith(one) || agent.dir.endsWith(one))
    expect(left).toEqual([])
  })
})
