import { describe, expect, it, onTestFinished } from 'vitest'
import { startSshServer } from '../../infra/ssh-server.ts'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { startLink } from './harness/link.ts'
import { until } from './harness/until.ts'

describe('an ssh executor, through the whole circle', () => {
  it('of config.yaml runs code on its target, also when the link breaks meanwhile', async () => {
    const server = await startSshServer()
    onTestFinished(() => server.stop())
    const link = await startLink(server.port)
    onTestFinished(() => link.close())
    const { host, username, privateKey: private_key, hostKey: host_key } = server
    const ssh = { remote: { host, port: link.port, username, private_key, host_key } }
    const config = JSON.stringify({ code_executors: { ssh } })
    const api = await apiForTest({ database: 'pglite', config, env: { ERRAND_CONFIG: 'config.yaml' } })
    const agent = await agentForTest({ api })
    const record = await api.client.run({ executor: 'remote', code: 'import os; print(os.getcwd())' })
    expect(record).toMatchObject({
      outcome: 'succeeded',
      executor_type: 'ssh',
      agent_id: agent.id,
      hostname: host,
      isolation: { sandbox: 'remote', network: 'host' },
      runtime_id: expect.stringMatching(/^python3/) as string,
    })
    expect(record.stdout).toContain('/home/errand/.errand/runs/')

    const code = 'import time\nfor n in range(30): print(n, flush=True); time.sleep(0.05)'
    const { id } = await api.client.submit({ executor: 'remote', code })
    await until('it has printed', async () => (await api.client.output(id, 'stdout')).length > 0)
    link.cut()
    setTimeout(() => link.restore(), 700)
    const after = await api.client.final(id)
    expect(after.outcome).toBe('succeeded')
    expect(after.stdout).toBe(Array.from({ length: 30 }, (_, n) => `${n}\n`).join(''))

    const limits = { mem_limit_mb: 64 }
    const refused = await api.client.run({ executor: 'remote', code: 'pass', limits })
    expect(refused).toMatchObject({
      outcome: 'rejected',
      error: expect.stringContaining('mem_limit_mb') as string,
    })
  })
})
