import { randomUUID } from 'node:crypto'
import { agentPolicy, agentMessage, scaleTime, sshExecutor } from '@errand/shared'
import type { AgentPolicy, ApiMessage, CheckReport } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { answer } from './answer.ts'
import type { Backend, Check } from './backends/backend.ts'
import { createFake } from './backends/fake/fake.ts'
import { ScriptedApi } from './testing/scripted-api.ts'
import { assignment, silent, startAgent } from './testing/agent-under-test.ts'

type Question = Extract<ApiMessage, { type: 'check' | 'host_key' }>

const check = (settings: object = {}, type: 'ssh' | 'localhost' = 'localhost'): Question => {
  const { executor, runtime, limits, required_limits } = assignment([])
  return {
    type: 'check',
    request_id: randomUUID(),
    executor: { ...executor, executor_type: type, settings: { ...settings } },
    runtime,
    limits,
    required_limits,
  }
}
const hostKey = (): Question => ({ type: 'host_key', request_id: randomUUID(), host: 'h', port: 22 })
const works: CheckReport = {
  runtime_id: 'python3.0.0',
  findings: [{ what: 'interpreter', ok: true, detail: 'there' }],
}
const parts = (backend: Partial<Backend> = {}, policy: Partial<AgentPolicy> = {}) => ({
  policy: agentPolicy.parse(policy),
  backends: { localhost: { ...createFake(), ...backend }, ssh: { ...createFake(), ...backend } },
  time: scaleTime(0.01),
  log: silent,
})
const never = (): Promise<never> => new Promise(() => {})

describe('a check', () => {
  const findingsOf = async (question: Question, ...given: Parameters<typeof parts>) => {
    const answered = await answer(question, parts(...given))
    expect(agentMessage.parse(answered)).toMatchObject({ type: 'checked', request_id: question.request_id })
    return answered.type === 'checked' ? answered.report.findings : []
  }

  it('tells what the backend found, with the settings that it was asked for', async () => {
    let asked: Check | undefined
    const question = check()
    const findings = await findingsOf(question, {
      check: (given) => {
        asked = given
        return Promise.resolve(works)
      },
    })
    expect(findings).toEqual([expect.objectContaining({ what: 'policy', ok: true }), ...works.findings])
    expect(question).toMatchObject({ executor: asked!.executor, limits: asked!.limits, runtime: 'python' })
  })

  it('asks no backend for what the policy refuses', async () => {
    const refused = [expect.objectContaining({ what: 'policy', ok: false })]
    expect(await findingsOf(check({ sandbox: 'none' }), { check: never })).toEqual(refused)
    const pinless = sshExecutor.parse({ host: 'h', username: 'u', password: 'p', enabled: false })
    const [finding] = await findingsOf(check(pinless, 'ssh'), { check: never })
    expect(finding).toMatchObject({ what: 'policy', ok: false, detail: expect.stringContaining('host key') })
  })

  it('says so when the backend fails or is not there', async () => {
    const failing = { check: () => Promise.reject(new Error('no such\u001b[2J thing')) }
    expect(await findingsOf(check(), failing)).toMatchObject([
      { what: 'agent', ok: false, detail: 'no such [2J thing' },
    ])
    const answered = await answer(check(), { ...parts(), backends: {} })
    expect(answered).toMatchObject({ report: { findings: [{ what: 'agent', ok: false }] } })
  })

  it('asks the backend to end in time, and answers without it when it does not', async () => {
    const early = {
      check: ({ signal }: Check) =>
        new Promise<CheckReport>((resolve) => signal.addEventListener('abort', () => resolve(works))),
    }
    expect(await findingsOf(check(), early)).toHaveLength(2)
    expect(await findingsOf(check(), { check: never })).toMatchObject([
      { what: 'agent', ok: false, detail: expect.stringContaining('did not answer within 0.2 s') },
    ])
  })

  it('sends no more than a frame and no control characters, whatever the backend read', async () => {
    const long = { what: 'x'.repeat(100), ok: true, detail: '\n\u{1F600}'.repeat(2_000), advice: '\0' }
    const flood = {
      check: () =>
        Promise.resolve({ runtime_id: 'r'.repeat(500), findings: Array.from({ length: 100 }, () => long) }),
    }
    expect(await findingsOf(check(), flood)).toHaveLength(64)
  })
})

describe('host keys', () => {
  it('are told as the backend sees them, or why it sees none', async () => {
    const keys = ['ssh-ed25519 AAAA']
    const seen = await answer(hostKey(), parts({ hostKeys: () => Promise.resolve(keys) }))
    expect(agentMessage.parse(seen)).toMatchObject({ keys, error: null })
    const away = parts({ hostKeys: () => Promise.reject(new Error('connection\nrefused')) })
    expect(await answer(hostKey(), away)).toMatchObject({ keys: [], error: 'connection refused' })
    expect(await answer(hostKey(), parts({ hostKeys: never }))).toMatchObject({
      error: expect.stringContaining('did not answer'),
    })
  })

  it('are not looked at by an agent without ssh executors', async () => {
    const none = { keys: [], error: 'the agent runs no ssh executors' }
    expect(await answer(hostKey(), parts())).toMatchObject(none)
    const hostKeys = () => Promise.resolve(['ssh-ed25519 AAAA'])
    expect(await answer(hostKey(), parts({ hostKeys }, { backends: ['localhost'] }))).toMatchObject(none)
  })
})

describe('over the socket', () => {
  let api: ScriptedApi
  beforeEach(async () => {
    api = new ScriptedApi()
    await api.listen()
  })
  afterEach(() => api.close())

  it('questions are answered, each once, also one that comes twice', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    const question = check()
    for (const one of [question, hostKey(), question]) api.say(one)
    await api.until(() => api.of('checked').length === 2 && api.of('host_key_seen').length === 1)
    expect(api.of('checked').map((one) => one.request_id)).toEqual(Array(2).fill(question.request_id))
    expect(agent.spool.held()).toEqual([])
  })

  it('a question before the session is settled is answered too', async () => {
    api.interfere = (message) => {
      if (message.type === 'inventory') api.say(check())
      return false
    }
    await using agent = startAgent(api)
    await api.until(() => api.of('checked').length === 1)
    expect(api.sessions).toBe(1)
    expect(agent.spool.held()).toEqual([])
  })
})
