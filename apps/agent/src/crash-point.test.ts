import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { CrashPoint } from './crash-point.ts'
import { assignment } from './testing/agent-under-test.ts'
import { AgentProcesses } from './testing/agent-processes.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
let agents: AgentProcesses
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
  agents = new AgentProcesses(api)
})
afterEach(async () => {
  await agents.close()
  await api.close()
})

const starts = () => {
  try {
    return readFileSync(join(agents.dir, 'starts'), 'utf8').trim().split('\n').length
  } catch {
    return 0
  }
}

describe('an agent that is killed', () => {
  const job = () =>
    assignment([
      { mark: join(agents.dir, 'starts') },
      { stdout: 'begin\n' },
      { sleep_ms: 100 },
      { stdout: 'end\n' },
      { exit: 0 },
    ])

  it.each(['recv_claim', 'accepted'] satisfies CrashPoint[])(
    'at %s gives the job back unstarted',
    async (point) => {
      const first = agents.start({ ERRAND_CRASH_AT: point })
      await api.until(() => api.credits > 0)
      const given = api.assign(job())
      expect(await first.exit).toBe('SIGKILL')
      agents.start()
      const held = { id: given.id, fence: given.fence, state: 'accepted', agent_died: true }
      expect((await api.until(() => api.of('inventory')[1])).held).toEqual(point === 'accepted' ? [held] : [])
      // As the API would: a new claim of the same job.
      await api.until(() => api.credits > 0)
      const again = api.assign({ ...given, fence: given.fence + 1 })
      expect(await api.result(again)).toMatchObject({ outcome: 'succeeded', text: 'begin\nend\n' })
      expect(starts()).toBe(1)
    },
  )

  it('over and over with one job serves the others, and goes on telling of it until that is heard', async () => {
    const poison = job()
    const env = { ERRAND_CRASH_AT: `accepted/${poison.id}` }
    const first = agents.start(env)
    await api.until(() => api.credits > 0)
    expect(await api.result(api.assign(job()))).toMatchObject({ outcome: 'succeeded' })
    await api.until(() => api.credits > 0)
    api.assign(poison)
    expect(await first.exit).toBe('SIGKILL')
    // The link breaks before the answer; then the API is an older one, which keeps what it knows.
    api.verdictOf = () => ({ verdict: 'keep', cancel: false })
    api.interfere = (message, _, socket) => {
      if (message.type === 'inventory') socket.terminate()
      return message.type === 'inventory'
    }
    agents.start(env)
    await api.until(() => api.of('inventory').length >= 2)
    api.interfere = () => false
    const held = api.of('inventory')[1]!.held.find(({ id }) => id === poison.id)
    const { id, fence } = poison
    expect(held).toEqual({ id, fence, state: 'accepted', agent_died: true })
    await api.until(() => api.of('return').some((one) => one.id === id && one.fence === fence))
    await api.until(() => api.credits > 0)
    const other = job()
    api.assign(other)
    expect(await api.result(other)).toMatchObject({ outcome: 'succeeded' })
  })

  it.each(['starting', 'started', 'first_chunk', 'exited'] satisfies CrashPoint[])(
    'at %s reports the job lost, with the output that it had',
    async (point) => {
      const first = agents.start({ ERRAND_CRASH_AT: point })
      await api.until(() => api.credits > 0)
      const given = api.assign(job())
      expect(await first.exit).toBe('SIGKILL')
      agents.start()
      const { outcome, text, error } = await api.result(given)
      expect({ outcome, error }).toMatchObject({ outcome: 'lost', error: expect.stringContaining('died') })
      expect('begin\nend\n'.startsWith(text)).toBe(true)
      expect(text.length).toBeGreaterThanOrEqual(point === 'first_chunk' ? 'begin\n'.length : 0)
      expect(starts()).toBeLessThanOrEqual(1)
    },
  )

  it.each(['spooled_result', 'sent_result', 'acked_result'] satisfies CrashPoint[])(
    'at %s delivers the result after its next start, once',
    async (point) => {
      const first = agents.start({ ERRAND_CRASH_AT: point })
      await api.until(() => api.credits > 0)
      const given = api.assign(job())
      expect(await first.exit).toBe('SIGKILL')
      agents.start()
      expect(await api.result(given)).toMatchObject({ outcome: 'succeeded', text: 'begin\nend\n' })
      await api.until(() => api.of('inventory').length === 2 && api.credits > 0)
      expect(api.of('inventory')[1]?.held).toEqual([{ id: given.id, fence: given.fence, state: 'ended' }])
      expect(starts()).toBe(1)
    },
  )
})
