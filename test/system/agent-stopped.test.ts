import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { until } from './harness/until.ts'

const executor = 'local_python_default'

it('an agent finishes what runs when it is asked to stop, kills it when it is asked again, and leaves no process (CR-33)', async () => {
  const api = await apiForTest({ database: 'postgres' })
  const agent = await agentForTest({ api, slots: 2 })
  const mark = randomUUID()
  const running = async (seconds: number) => {
    const code = `import time; print("began", flush=True); time.sleep(${seconds}); print("ended")`
    const { id } = await api.client.submit({ executor, code, args: [mark], timeout_sec: 300 })
    await until('it runs', async () => (await api.client.output(id, 'stdout')).length > 0)
    return id
  }
  const askToStop = async () => {
    const asked = () => agent.log.split('draining').length
    const before = asked()
    agent.process.child.kill('SIGTERM')
    await until('it drains', () => asked() > before)
  }

  const first = await running(1)
  await askToStop()
  const later = await api.client.submit({ executor, code: 'print("later")' })
  expect(await agent.process.ended()).toBe(0)
  expect(await api.client.execution(first)).toMatchObject({ outcome: 'succeeded', stdout: 'began\nended\n' })
  // It was not taken, or handed back: nobody has started it.
  expect(await api.client.execution(later.id)).toMatchObject({ outcome: null, attempt: 0 })

  await agent.start()
  expect(await api.client.final(later.id)).toMatchObject({ outcome: 'succeeded', attempt: 1 })
  const second = await running(600)
  await askToStop()
  agent.process.child.kill('SIGTERM')
  expect(await agent.process.ended()).toBe(1)
  expect(await api.client.final(second)).toMatchObject({
    outcome: 'infra_error',
    status: 'failed',
    stdout: 'began\n',
    attempt: 1,
  })
  expect(markedProcesses(mark)).toEqual([])
})
