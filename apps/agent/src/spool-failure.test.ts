import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { assignment, startAgent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
})
afterEach(() => api.close())

const full = () => {
  throw new Error('database or disk is full')
}
const time = { pollEveryMs: 20 }

it('a job that cannot be spooled is handed back, and slots are granted again once the disk has room', async () => {
  await using agent = startAgent(api, { time, slots: 1 })
  await api.until(() => api.credits === 1)
  Object.assign(agent.spool, { accept: full, probe: full })
  api.assign(assignment([{ exit: 0 }]))
  expect(await api.until(() => api.of('return')[0])).toMatchObject({
    reason: expect.stringContaining('disk'),
  })
  expect(api.credits).toBe(0)
  for (const own of ['accept', 'probe']) Reflect.deleteProperty(agent.spool, own)
  await api.until(() => api.credits === 1)
  expect(await api.result(api.assign(assignment([{ exit: 0 }])))).toMatchObject({ outcome: 'succeeded' })
})

it('a job whose start cannot be spooled is not started', async () => {
  await using agent = startAgent(api, { time })
  await api.until(() => api.credits > 0)
  const file = join(agent.agentDir, 'starts')
  Object.assign(agent.spool, { starting: full })
  const job = api.assign(assignment([{ mark: file }, { exit: 0 }]))
  expect(await api.until(() => api.of('return')[0])).toMatchObject({ id: job.id })
  expect(existsSync(file)).toBe(false)
})

it('a result that cannot be spooled is delivered all the same, and says what is cut', async () => {
  await using agent = startAgent(api, { time })
  await api.until(() => api.credits > 0)
  Object.assign(agent.spool, { append: full, finish: full })
  const job = api.assign(assignment([{ stdout: 'hello' }, { exit: 0 }]))
  expect(await api.result(job)).toMatchObject({
    outcome: 'succeeded',
    stdout: { bytes: 5, stored: 0, truncated: true },
    error: expect.stringContaining('disk was full'),
  })
})
