import { describe, expect, it } from 'vitest'
import { agentForTest, apiForTest, databases } from './harness/for-test.ts'

/** Promise 6, in milliseconds at full scale: a job is final so long after its agent died. */
const promisedMs = 45_000
const timeScale = 0.2

describe.each(databases)('an agent that is killed and never comes back, on %s', (database) => {
  it('has its job lost in time, or tried again elsewhere where that is allowed', async () => {
    const api = await apiForTest({ database, timeScale })
    const agent = await agentForTest({ api, timeScale })
    const long = { executor: 'local_python_default', code: 'import time; time.sleep(600)' }
    const once = await api.client.submit(long)
    const again = await api.client.submit({ ...long, retry: { max_attempts: 2 } })
    await Promise.all([once, again].map(({ id }) => api.client.status(id, 'running')))
    await agent.kill()
    const record = await api.client.final(once.id, promisedMs * timeScale)
    expect(record).toMatchObject({
      outcome: 'lost',
      status: 'failed',
      attempt: 1,
      agent_id: agent.id,
      error: 'its agent did not renew its lease',
    })
    const other = await agentForTest({ api, timeScale })
    const second = await api.client.status(again.id, 'running')
    expect(second).toMatchObject({ attempt: 2, agent_id: other.id })
    await api.client.cancel(again.id)
    expect(await api.client.final(again.id)).toMatchObject({ outcome: 'canceled', attempt: 2 })
  })
})
