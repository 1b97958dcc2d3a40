import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../../infra/free-port.ts'
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

it('enrols with its token, keeps its key to itself, and needs the token no more', async () => {
  const first = agents.start()
  await api.until(() => api.credits > 0)
  expect(api.enrolments).toEqual([{ token: 'token-1', name: 'tester', public_key: expect.any(String) }])
  expect(statSync(join(agents.dir, 'private-key.pem')).mode & 0o777).toBe(0o600)
  first.child.kill('SIGTERM')
  expect(await first.exit).toBe(0)
  agents.start({ ERRAND_ENROLLMENT_TOKEN: '' })
  await api.until(() => api.sessions === 2)
  expect(api.enrolments).toHaveLength(1)
  expect(first.log()).not.toContain('token-1')
})

describe('an agent that cannot reach the API (NET-15)', () => {
  /** A server whose certificate nobody knows, and what it was asked in spite of that. */
  async function startImpostor(): Promise<{ url: string; requests: string[] }> {
    const files = ['key.pem', 'cert.pem'].map((name) => join(agents.dir, name)) as [string, string]
    const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=localhost']
    execFileSync('openssl', [...made, '-keyout', files[0], '-out', files[1]], { stdio: 'ignore' })
    const requests: string[] = []
    const given = { key: readFileSync(files[0]), cert: readFileSync(files[1]) }
    const impostor = createServer(given, ({ url }, response) => {
      requests.push(String(url))
      response.end()
    })
    impostor.listen(0, '127.0.0.1')
    await once(impostor, 'listening')
    onTestFinished(() => void impostor.close())
    return { url: `https://localhost:${(impostor.address() as AddressInfo).port}`, requests }
  }

  it('tries on in growing windows, says why, and tells nobody its token', async () => {
    const impostor = await startImpostor()
    // Enrolled, it dials; without that it enrols first.
    const first = agents.start()
    await api.until(() => api.credits > 0)
    first.child.kill('SIGTERM')
    expect(await first.exit).toBe(0)
    for (const enrolled of [true, false]) {
      if (!enrolled) rmSync(join(agents.dir, 'identity.json'))
      for (const [url, reason] of [
        [`http://127.0.0.1:${await freePort()}`, /ECONNREFUSED/],
        ['http://nowhere.invalid', /ENOTFOUND|EAI_AGAIN/],
        [impostor.url, /self.signed|SELF_SIGNED/],
      ] as const) {
        const { child, exit, log } = agents.start({ ERRAND_URL: url, ERRAND_TIME_SCALE: '0.02' })
        const tries = () => log().split(/trying (?:again|on)/).length - 1
        await expect.poll(tries, { timeout: 20_000 }).toBeGreaterThan(2)
        expect(log()).toMatch(reason)
        expect(log()).toContain(url)
        expect(log()).not.toContain('token-1')
        child.kill('SIGTERM')
        expect(await exit).toBe(0)
      }
    }
    expect(impostor.requests).toEqual([])
  })
})

it('exits with 3 and says why when its token is refused', async () => {
  api.enrolStatus = 401
  const { exit, log } = agents.start()
  expect(await exit).toBe(3)
  expect(log()).toContain('tokens work once')
})

it('exits with 3 when the API refuses its identity', async () => {
  const { exit, log } = agents.start()
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
  const { exit, log } = agents.start(env)
  expect(await exit).toBe(2)
  expect(log()).toContain(named)
})

it('exits with 2 when another agent has its directory', async () => {
  const first = agents.start()
  await api.until(() => api.credits > 0)
  const second = agents.start()
  expect(await second.exit).toBe(2)
  expect(second.log()).toContain(`in use by process ${first.child.pid}`)
})

it('finishes what runs on SIGTERM, takes no more, and exits with 0 (CR-33)', async () => {
  const { child, exit, log } = agents.start()
  await api.until(() => api.credits > 0)
  const running = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 2_000 }, { stdout: 'y' }, { exit: 0 }]))
  await api.until(() => api.of('output').length > 0)
  child.kill('SIGTERM')
  await expect.poll(log, { timeout: 1_900 }).toContain('draining')
  api.assign(assignment([{ exit: 0 }]))
  expect((await api.until(() => api.of('return')[0])).reason).toContain('stopped')
  expect(await api.result(running)).toMatchObject({ outcome: 'succeeded', text: 'xy' })
  expect(await exit).toBe(0)
})

it('kills what runs on a second SIGTERM and reports it as our failure (CR-33)', async () => {
  const { child, exit } = agents.start()
  await api.until(() => api.credits > 0)
  const running = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
  await api.until(() => api.of('output').length > 0)
  child.kill('SIGTERM')
  child.kill('SIGTERM')
  const again = setInterval(() => child.kill('SIGTERM'), 50)
  expect(await api.result(running)).toMatchObject({
    outcome: 'infra_error',
    error: expect.stringContaining('stopped'),
  })
  expect(await exit).toBe(1)
  clearInterval(again)
})

it('drains when the parent that spawned it is gone', async () => {
  const { child, exit } = agents.start()
  await api.until(() => api.credits > 0)
  child.disconnect()
  expect(await exit).toBe(0)
})

it('that was stopped for longer than its lease says nothing before it has connected anew', async () => {
  const { child } = agents.start()
  await api.until(() => api.credits > 0)
  const job = api.assign(
    assignment([
      { stdout: 'x' },
      { sleep_ms: 500 },
      ...Array.from({ length: 50 }, () => ({ stdout: 'y' })),
      { exit: 0 },
    ]),
  )
  await api.until(() => api.of('output').length > 0)
  child.kill('SIGSTOP')
  const before = api.messages.length
  // The lease of a tenth of the time; nothing but time makes it run out.
  await sleep(3_300)
  child.kill('SIGCONT')
  await api.until(() => api.messages.length > before)
  expect(api.messages.slice(before).map((one) => one.type)[0]).toBe('hello')
  expect(await api.result(job)).toMatchObject({ outcome: 'succeeded', text: `x${'y'.repeat(50)}` })
})
