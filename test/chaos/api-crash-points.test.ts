import { inject, expect, it, onTestFinished } from 'vitest'
import { createDatabase, dropDatabase } from '../../infra/create-database.ts'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { until } from '../system/harness/until.ts'

const timeScale = 0.2

/** The last word comes long after the first; a run that was cut off would lack it. */
const code = `
import sys, time
print('first', flush=True)
time.sleep(1)
print('last')
`

it('CR-16 CR-17 CR-18 CR-19 CR-20: an execution lives through the death of its API after each commit that nobody was told of', async () => {
  // PostgreSQL, so that only the API dies.
  const database = await createDatabase(inject('databaseUrl'))
  onTestFinished(() => dropDatabase(database))
  const dyingAt = (point: string | undefined) => ({ ERRAND_CRASH_AT: point })
  const api = await apiForTest({ database: { url: database }, timeScale })
  const agent = await agentForTest({ api, timeScale, slots: 1 })
  const submit = () => api.client.submitSurely({ executor: 'local_python_default', code }, 'the-key')

  await api.kill()
  await api.start(dyingAt('inserted_before_response'))
  const submitted = submit()
  for (const next of [
    'claimed_before_send',
    'chunk_committed_before_ack',
    'completed_before_ack',
    undefined,
  ]) {
    expect(await api.process.ended()).toBe('SIGKILL')
    await api.start(dyingAt(next))
  }
  const { id } = await submitted
  expect((await submit()).id).toBe(id)
  expect(await api.client.final(id)).toMatchObject({
    outcome: 'succeeded',
    attempt: 1,
    stdout: 'first\nlast\n',
  })

  await api.kill()
  await api.start(dyingAt('cancel_committed_before_send'))
  const endless = await api.client.submit({
    executor: 'local_python_default',
    code: 'import time; time.sleep(600)',
  })
  await api.client.status(endless.id, 'running')
  // Its answer may be lost with the process.
  await api.client.cancel(endless.id).catch(() => {})
  expect(await api.process.ended()).toBe('SIGKILL')
  await api.start()
  expect(await api.client.final(endless.id)).toMatchObject({ outcome: 'canceled', attempt: 1 })
  expect(await api.client.executions('?count=true&limit=1')).toMatchObject({ total: 2 })
  await until('the agent holds nothing', async () => (await agent.record())!.jobs_held === 0)
})
