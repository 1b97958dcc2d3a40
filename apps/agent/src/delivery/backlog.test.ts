import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AgentMessage, Assignment } from '@errand/shared'
import { assignment, startAgent } from '../testing/agent-under-test.ts'
import type { AgentUnderTest } from '../testing/agent-under-test.ts'
import { ScriptedApi } from '../testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
  // Nothing that is delivered is answered.
  api.interfere = (message) => message.type === 'output' || message.type === 'finish'
})
afterEach(() => api.close())

/** Runs it to its end on the agent, if not to its delivery. */
async function runToEnd(agent: AgentUnderTest, job: Assignment): Promise<void> {
  api.assign(job)
  await expect.poll(() => agent.spool.result(job), { timeout: 30_000 }).toBeTruthy()
}

/** Once the agent has answered this, all that it sent before has come. */
async function roundTrip(): Promise<void> {
  const { id } = api.assign({ ...assignment([]), runtime: 'unheard of' as 'python' })
  await api.until(() => api.of('return').some((one) => one.id === id))
}

/** From now on takes all that comes, without keeping it. */
function takeAll(): void {
  api.interfere = (message, payload, socket) => {
    const answer = answerTo(message, payload)
    if (answer) api.say(answer, socket)
    return answer !== undefined
  }
  api.socket?.terminate()
}

function answerTo(message: AgentMessage, payload: Uint8Array) {
  if (message.type === 'output') {
    const { id, fence, stream, offset } = message
    const next_offset = offset + payload.length
    return { type: 'output_stored', id, fence, stream, verdict: 'stored', next_offset } as const
  }
  if (message.type !== 'finish') return undefined
  return { type: 'finished', id: message.id, fence: message.fence, verdict: 'stored' } as const
}

describe('an agent whose delivery is behind', () => {
  it('grants no slot while more than 64 MiB of output wait, and grants again when they are stored', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits === 2)
    const limits = { timeout_sec: 60, output_limit_kb: 64 * 1024 }
    await runToEnd(
      agent,
      assignment([{ stdout: 'x'.repeat(1024), times: 64 * 1024 }, { exit: 0 }], { limits }),
    )
    await api.until(() => api.credits === 2)
    await runToEnd(agent, assignment([{ stdout: 'x' }, { exit: 0 }]))
    await roundTrip()
    expect(api.credits).toBe(0)
    takeAll()
    await api.until(() => api.credits === 2)
    await expect.poll(() => agent.spool.held(), { timeout: 30_000 }).toEqual([])
  })

  it('grants no slot while more than 500 ended jobs wait, and grants again when they are stored', async () => {
    await using agent = startAgent(api, { slots: 501 })
    await api.until(() => api.credits === 501)
    const jobs = Array.from({ length: 501 }, () => api.assign(assignment([{ exit: 0 }])))
    await expect
      .poll(() => jobs.filter((job) => agent.spool.result(job)).length, { timeout: 30_000 })
      .toBe(501)
    await roundTrip()
    // As many as were granted while 500 waited, but the one of the round trip.
    expect(api.credits).toBe(499)
    takeAll()
    await api.until(() => api.credits === 501)
  })
})
