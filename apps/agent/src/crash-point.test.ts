import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { CrashPoint } from './crash-point.ts'
import { assignment } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
let agentDir: string
const children: ChildProcess[] = []
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
  agentDir = mkdtempSync(join(tmpdir(), 'errand-agent-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await api.close()
  rmSync(agentDir, { recursive: true, force: true })
})

/** The real process, with the fake backend; it exits by itself with the code or signal. */
function start(env: Record<string, string> = {}): { child: ChildProcess; exit: Promise<number | string>; log: () => string } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: {
      PATH: process.env['PATH'],
      ERRAND_URL: api.url,
      ERRAND_AGENT_DIR: agentDir,
      ERRAND_ENROLLMENT_TOKEN: 'token-1',
      ERRAND_AGENT_NAME: 'tester',
      ERRAND_FAKE_BACKEND: '1',
      ERRAND_TIME_SCALE: '0.1',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  children.push(child)
  let log = ''
  child.stderr?.on('data', (bytes: Buffer) => (log += bytes.toString()))
  const exit = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
  return { child, exit, log: () => log }
}

const starts = () => {
  try {
    return readFileSync(join(agentDir, 'starts'), 'utf8').trim().split('\n').length
  } catch {
    return 0
  }
}

describe('an agent that is killed', () => {
  const job = () =>
    assignment([
      { mark: join(agentDir, 'starts') },
      { stdout: 'begin\n' },
      { sleep_ms: 100 },
      { stdout: 'end\n' },
      { exit: 0 },
    ])

  it.each(['recv_claim', 'accepted'] satisfies CrashPoint[])('at %s gives the job back unstarted', async (point) => {
    const first = start({ ERRAND_CRASH_AT: point })
    await api.until(() => api.credits > 0)
    const given = api.assign(job())
    expect(await first.exit).toBe('SIGKILL')
    start()
    expect((await api.until(() => api.of('inventory')[1])).held).toEqual([])
    // As the API would: a new claim of the same job.
    await api.until(() => api.credits > 0)
    const again = api.assign({ ...given, fence: given.fence + 1 })
    expect(await api.result(again)).toMatchObject({ outcome: 'succeeded', text: 'begin\nend\n' })
    expect(starts()).toBe(1)
  })

  it.each(['starting', 'started', 'first_chunk', 'exited'] satisfies CrashPoint[])(
    'at %s reports the job lost, with the output that it had',
    async (point) => {
      const first = start({ ERRAND_CRASH_AT: point })
      await api.until(() => api.credits > 0)
      const given = api.assign(job())
      expect(await first.exit).toBe('SIGKILL')
      start()
      const { outcome, text, error } = await api.result(given)
      expect({ outcome, error }).toMatchObject({ outcome: 'lost', error: expect.stringContaining('died') })
      expect('begin\nend\n'.startsWith(text)).toBe(true)
      if (point === 'first_chunk') expect(text).toBe('begin\n')
      expect(starts()).toBeLessThanOrEqual(1)
    },
  )

  it.each(['spooled_result', 'sent_result', 'acked_result'] satisfies CrashPoint[])(
    'at %s delivers the result after its next start, once',
    async (point) => {
      const first = start({ ERRAND_CRASH_AT: point })
      await api.until(() => api.credits > 0)
      const given = api.assign(job())
      expect(await first.exit).toBe('SIGKILL')
      start()
      expect(await api.result(given)).toMatchObject({ outcome: 'succeeded', text: 'begin\nend\n' })
      await api.until(() => api.of('inventory').length === 2 && api.credits > 0)
      expect(api.of('inventory')[1]?.held).toEqual([{ id: given.id, fence: given.fence, state: 'ended' }])
      expect(starts()).toBe(1)
    },
  )
})

describe('the process', () => {
  it('enrols with its token, keeps its key to itself, and needs the token no more', async () => {
    const first = start()
    await api.until(() => api.credits > 0)
    expect(api.enrolments).toEqual([{ token: 'token-1', name: 'tester', public_key: expect.any(String) }])
    expect(statSync(join(agentDir, 'private-key.pem')).mode & 0o777).toBe(0o600)
    first.child.kill('SIGTERM')
    expect(await first.exit).toBe(0)
    start({ ERRAND_ENROLLMENT_TOKEN: '' })
    await api.until(() => api.sessions === 2)
    expect(api.enrolments).toHaveLength(1)
    expect(first.log()).not.toContain('token-1')
  })

  it('exits with 3 and says why when its token is refused', async () => {
    api.enrolStatus = 401
    const { exit, log } = start()
    expect(await exit).toBe(3)
    expect(log()).toContain('tokens work once')
  })

  it('exits with 3 when the API refuses its identity', async () => {
    const { exit, log } = start()
    await api.until(() => api.credits > 0)
    api.socket?.close(4003, 'revoked')
    expect(await exit).toBe(3)
    expect(log()).toContain('revoked')
  })

  it.each([
    [{ ERRAND_URL: 'nonsense' }, 'ERRAND_URL'],
    [{ ERRAND_ENROLLMENT_TOKEN: '' }, 'ERRAND_ENROLLMENT_TOKEN'],
    [{ ERRAND_TIME_SCALE: '2' }, 'ERRAND_TIME_SCALE'],
  ])('exits with 2 and names what is wrong: %o', async (env, named) => {
    const { exit, log } = start(env)
    expect(await exit).toBe(2)
    expect(log()).toContain(named)
  })

  it('exits with 2 when another agent has its directory', async () => {
    start()
    await api.until(() => api.credits > 0)
    const second = start()
    expect(await second.exit).toBe(2)
    expect(second.log()).toContain(`in use by process ${children[0]?.pid}`)
  })

  it('finishes what runs on SIGTERM, takes no more, and exits with 0', async () => {
    const { child, exit } = start()
    await api.until(() => api.credits > 0)
    const running = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 400 }, { stdout: 'y' }, { exit: 0 }]))
    await api.until(() => api.of('output').length > 0)
    child.kill('SIGTERM')
    // Gives the signal the time of a round trip at least.
    const late = assignment([{ exit: 0 }])
    await api.until(() => {
      api.say({ type: 'assign', job: { ...late, fence: late.fence + api.messages.length } })
      return api.of('return').length > 0 || undefined
    })
    expect(api.of('return').at(-1)?.reason).toContain('stopped')
    expect(await api.result(running)).toMatchObject({ outcome: 'succeeded', text: 'xy' })
    expect(await exit).toBe(0)
  })

  it('kills what runs on a second SIGTERM and reports it as our failure', async () => {
    const { child, exit } = start()
    await api.until(() => api.credits > 0)
    const running = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
    await api.until(() => api.of('output').length > 0)
    child.kill('SIGTERM')
    child.kill('SIGTERM')
    const again = setInterval(() => child.kill('SIGTERM'), 50)
    expect(await api.result(running)).toMatchObject({ outcome: 'infra_error', error: expect.stringContaining('stopped') })
    expect(await exit).toBe(1)
    clearInterval(again)
  })

  it('drains when the parent that spawned it is gone', async () => {
    const { child, exit } = start()
    await api.until(() => api.credits > 0)
    child.disconnect()
    expect(await exit).toBe(0)
  })
})
