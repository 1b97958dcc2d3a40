import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createHash } from 'node:crypto'
import { closeCode } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { WebSocket } from 'ws'
import { assignment, silent, startAgent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
})
afterEach(() => api.close())

const hello = [{ stdout: 'hello\n' }, { exit: 0 }]

describe('a connect', () => {
  it('says hello, then the inventory, and grants credits only after it is reconciled', async () => {
    await using _ = startAgent(api)
    let before: string[] = []
    api.interfere = (message, _, socket) => {
      if (message.type !== 'inventory') return false
      setTimeout(() => {
        before = api.messages.map((one) => one.type)
        api.say({ type: 'reconciled', jobs: [] }, socket)
      }, 50)
      return true
    }
    await api.until(() => api.credits > 0)
    expect(before).toEqual(['hello', 'inventory'])
    expect(api.messages.map((one) => one.type)).toEqual(['hello', 'inventory', 'credits'])
    expect(api.credits).toBe(2)
  })

  it('grants no slot that becomes free before it is reconciled', async () => {
    await using agent = startAgent(api, { slots: 1 })
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 100 }, { exit: 0 }]))
    await api.until(() => api.of('output').length > 0)
    api.interfere = (message) => message.type === 'inventory'
    api.socket?.terminate()
    await expect.poll(() => agent.spool.result(job)).toBeTruthy()
    await api.until(() => api.of('inventory').length === 2)
    const kept = { id: job.id, fence: job.fence, verdict: 'keep', cancel: false } as const
    api.say({ type: 'reconciled', jobs: [{ ...kept, offsets: { stdout: 1, stderr: 0 } }] })
    await api.result(job)
    await api.until(() => api.credits > 0)
    const after = api.messages.slice(api.messages.findLastIndex((one) => one.type === 'inventory') + 1)
    expect(after.map((one) => one.type)).toEqual(['credits', 'finish'])
    expect(api.credits).toBe(1)
  })

  it('tells anew what it can do when a backend comes or goes, and its jobs go on', async () => {
    let available = false
    const backend = { probe: () => Promise.resolve({ available, isolation: null, missing: [] }) }
    await using agent = startAgent(api, { backend, time: { probeEveryMs: 20 } })
    const told = () => api.of('hello').map(({ report }) => report.backends.localhost?.available)
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 200 }, { exit: 0 }]))
    await api.until(() => api.of('started').length > 0 || api.of('output').length > 0)
    available = true
    await api.until(() => api.sessions === 2 && api.of('inventory').length === 2)
    expect(told()).toEqual([false, true])
    expect(await api.result(job)).toMatchObject({ outcome: 'succeeded', text: 'x' })
    available = false
    await api.until(() => api.of('hello').length === 3)
    expect(told()).toEqual([false, true, false])
    expect(agent.spool.hasSeen(job)).toBe(true)
  })

  it('ends with an error that says so when the API refuses the agent', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    api.socket?.close(4003, 'revoked')
    expect(await agent.ended).toMatchObject({ name: 'Refused', message: expect.stringContaining('revoked') })
  })

  it('signs nothing for another server than the one it enrolled with', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.sessions === 1)
    api.serverId = '00000000-0000-4000-8000-000000000000'
    api.socket?.terminate()
    await api.until(() => api.closes.includes(1008))
    expect(api.of('hello')).toHaveLength(1)
  })
})

describe('a session', () => {
  it('ends when two pings go unanswered', async () => {
    const deaf = new ScriptedApi({ deaf: true })
    await deaf.listen()
    {
      await using _ = startAgent(deaf, { time: { pingEveryMs: 20 } })
      await deaf.until(() => deaf.sessions >= 2)
    }
    expect(deaf.closes[0]).toBe(1006)
    await deaf.close()
  })

  it('ends at what is no message, and another begins', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    api.socket?.send('{"type":')
    await api.until(() => api.sessions === 2)
    api.socket?.send(JSON.stringify({ type: 'cancel', id: 'nobody' }))
    await api.until(() => api.sessions === 3)
    expect(api.closes).toEqual([1002, 1002])
  })

  it('goes on at messages of a type that only a newer API knows', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    api.socket?.send(JSON.stringify({ type: 'praise', text: 'well done' }))
    expect(await api.result(api.assign(assignment(hello)))).toMatchObject({ outcome: 'succeeded' })
    expect(api.sessions).toBe(1)
  })

  it('comes back when the API has said, also when that did not let it in', async () => {
    // By itself it would not come back in hours.
    await using _ = startAgent(api, { time: { reconnectMinMs: 1e9, reconnectMaxMs: 1e9 }, random: () => 1 })
    await api.until(() => api.credits > 0)
    const sendAway = (socket: WebSocket | undefined, code: number) => {
      api.say({ type: 'reconnect', reconnect_in_ms: 5 }, socket)
      socket?.close(code)
    }
    api.interfere = (message, _payload, socket) => {
      if (message.type !== 'hello' || api.of('hello').length !== 2) return false
      sendAway(socket, closeCode.tryLater)
      return true
    }
    sendAway(api.socket, closeCode.restarting)
    await api.until(() => api.sessions === 2)
    expect(api.of('hello')).toHaveLength(3)
  })

  it.each([
    [Infinity, [20, 40, 80]],
    [0, [20, 20, 20]],
  ])('begins again with the first window after a session that held for %d ms', async (stableMs, waits) => {
    const warn = vi.spyOn(silent, 'warn')
    onTestFinished(() => warn.mockRestore())
    await using _ = startAgent(api, { time: { stableMs }, random: () => 1 })
    for (let n = 1; n <= waits.length; n++) {
      await api.until(() => api.of('credits').length === n)
      api.socket?.close(closeCode.restarting)
    }
    await api.until(() => api.of('credits').length > waits.length)
    expect(warn.mock.calls.map(([fields]) => (fields as { wait_ms?: number }).wait_ms)).toEqual(waits)
  })

  it('comes back within its lease, also with nothing in its hands: it may have been given something', async () => {
    const warn = vi.spyOn(silent, 'warn')
    onTestFinished(() => warn.mockRestore())
    await using _ = startAgent(api, { time: { stableMs: Infinity, leaseMs: 200 }, random: () => 1 })
    for (let n = 1; n <= 5; n++) {
      await api.until(() => api.of('credits').length === n)
      api.socket?.close(closeCode.restarting)
    }
    await api.until(() => api.of('credits').length > 5)
    const waits = warn.mock.calls.map(([fields]) => (fields as { wait_ms: number }).wait_ms)
    expect(waits.slice(0, 3)).toEqual([20, 40, 80])
    expect(Math.max(...waits)).toBeLessThanOrEqual(100)
  })

  it('hands back an assignment that it does not understand', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = assignment(hello)
    api.socket?.send(JSON.stringify({ type: 'assign', job: { ...job, runtime: 'cobol' } }))
    api.credits -= 1
    expect(await api.until(() => api.of('return')[0])).toMatchObject({ id: job.id, fence: job.fence })
    expect(await api.until(() => api.credits === 2)).toBe(true)
  })
})

describe('an execution', () => {
  it('is run and delivered, short ones in one frame', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'hello\n' }, { stderr: 'oh\n' }, { exit: 3 }]))
    const result = await api.result(job)
    expect(result).toMatchObject({
      outcome: 'failed',
      exit_code: 3,
      text: 'hello\n',
      phase: 'run',
      hostname: 'host',
    })
    expect(String(result.duration_sec)).toMatch(/^\d+(\.\d{1,6})?$/)
    expect(String(result.run_ms)).toMatch(/^\d+(\.\d{1,3})?$/)
    expect(result.stderr).toMatchObject({ bytes: 3, stored: 3, truncated: false })
    expect(result.start_time_ms).toBeGreaterThan(Date.now() - 60_000)
    expect(api.of('output')).toHaveLength(0)
    expect(api.of('started')).toHaveLength(0)
  })

  it('is said to be running when it takes longer', async () => {
    await using _ = startAgent(api, { time: { runningAfterMs: 10 } })
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ sleep_ms: 60_000 }]))
    await api.until(() => api.of('started')[0]?.id === job.id)
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled', signal: 'SIGKILL', exit_code: null })
  })

  it('frees its slot for another', async () => {
    await using _ = startAgent(api, { slots: 1 })
    for (let run = 0; run < 5; run++) {
      await api.until(() => api.credits === 1)
      await api.result(api.assign(assignment(hello)))
    }
    expect(await api.until(() => api.credits)).toBe(1)
  })

  it('ends at its time limit', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(
      assignment([{ stdout: 'so far' }, { sleep_ms: 60_000 }], {
        limits: { timeout_sec: 0.05, output_limit_kb: 1 },
      }),
    )
    expect(await api.result(job)).toMatchObject({ outcome: 'timed_out', text: 'so far' })
  })

  it('is handed back when every slot is taken', async () => {
    await using _ = startAgent(api, { slots: 1 })
    await api.until(() => api.credits > 0)
    api.assign(assignment([{ sleep_ms: 60_000 }]))
    const job = api.assign(assignment(hello))
    const back = await api.until(() => api.of('return')[0])
    expect(back).toMatchObject({ id: job.id, fence: job.fence, reason: expect.stringContaining('slot') })
  })

  it('is rejected in words when the policy does not allow it', async () => {
    await using _ = startAgent(api, { policy: { max_timeout_sec: 5 } })
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment(hello))
    expect(await api.result(job)).toMatchObject({
      outcome: 'rejected',
      error: expect.stringContaining('timeout_sec 30 is above the 5'),
      start_time_ms: null,
    })
  })

  it('is our failure when the backend fails', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { fail: 'no more processes' }]))
    expect(await api.result(job)).toMatchObject({
      outcome: 'infra_error',
      error: 'no more processes',
      text: 'x',
    })
  })

  it('is started once for each claim, however often that is sent', async () => {
    await using agent = startAgent(api)
    const file = join(agent.agentDir, 'starts')
    await api.until(() => api.credits > 0)
    const job = assignment([{ mark: file }, { exit: 0 }])
    api.assign(job)
    api.assign(job)
    await api.result(job)
    api.assign(job)
    const after = api.assign(assignment(hello))
    await api.result(after)
    expect(readFileSync(file, 'utf8')).toBe(`${job.id} ${job.fence}\n`)
    expect(api.of('finish').filter((one) => one.id === job.id)).toHaveLength(1)
  })

  it('starts again under a newer claim', async () => {
    await using agent = startAgent(api)
    const file = join(agent.agentDir, 'starts')
    await api.until(() => api.credits > 0)
    const job = assignment([{ mark: file }, { exit: 0 }])
    await api.result(api.assign(job))
    await api.result(api.assign({ ...job, fence: job.fence + 1 }))
    expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(2)
  })

  it('that was lost on its way is handed back at its cancel, and not started when it comes late', async () => {
    await using agent = startAgent(api, { slots: 1 })
    const file = join(agent.agentDir, 'starts')
    await api.until(() => api.credits === 1)
    const job = assignment([{ mark: file }, { exit: 0 }])
    api.credits -= 1
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    const back = await api.until(() => api.of('return')[0])
    expect(back).toMatchObject({ id: job.id, fence: job.fence, reason: expect.stringContaining('never') })
    await api.until(() => api.credits === 1)
    api.say({ type: 'assign', job })
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    await api.result(api.assign(assignment(hello)))
    expect(existsSync(file)).toBe(false)
    expect(api.of('return')).toHaveLength(1)
    await api.until(() => api.credits === 1)
  })

  it('can be canceled before it starts', async () => {
    await using agent = startAgent(api)
    const file = join(agent.agentDir, 'starts')
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ mark: file }], { script: { prepare_ms: 60_000 } }))
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled', start_time_ms: null })
    expect(existsSync(file)).toBe(false)
  })
})

describe('a large input', () => {
  const large = (): { job: ReturnType<typeof assignment>; bytes: Buffer } => {
    const { request, ...job } = assignment([{ stdout: 'large' }, { exit: 0 }])
    const bytes = Buffer.from(JSON.stringify(request))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { job: { ...job, input: { token: 'secret', bytes: bytes.length, sha256 } }, bytes }
  }

  it('is fetched with its token', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const { job, bytes } = large()
    api.inputs.set(`${job.id} Bearer secret`, bytes)
    api.assign(job)
    expect(await api.result(job)).toMatchObject({ outcome: 'succeeded', text: 'large' })
  })

  it('is fetched again when it came damaged', async () => {
    await using _ = startAgent(api, { time: { retryMinMs: 10 } })
    await api.until(() => api.credits > 0)
    const { job, bytes } = large()
    api.inputs.set(`${job.id} Bearer secret`, bytes.subarray(1))
    api.assign(job)
    await api.until(() => api.inputRequests >= 2)
    api.inputs.set(`${job.id} Bearer secret`, bytes)
    expect(await api.result(job)).toMatchObject({ outcome: 'succeeded', text: 'large' })
  })

  it('that the API refuses hands the job back', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const { job } = large()
    api.assign(job)
    expect(await api.until(() => api.of('return')[0])).toMatchObject({
      id: job.id,
      reason: expect.stringContaining('401'),
    })
    await api.until(() => api.credits === 2)
  })
})
