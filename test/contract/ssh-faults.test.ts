import { readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { SshExecutor, SubmissionBody } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Lost, Rejected } from '../../apps/agent/src/backends/backend.ts'
import { startLink } from '../system/harness/link.ts'
import type { Link } from '../system/harness/link.ts'
import { until } from '../system/harness/until.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { tag } from './harness.ts'
import { openSsh } from './open-ssh.ts'
import type { OpenSsh } from './open-ssh.ts'
import { processesWith } from './processes-with.ts'

let opened: OpenSsh

function nothingIsLeft(): void {
  expect(processesWith(tag.name, tag.value)).toEqual([])
  expect(opened.leftovers()).toEqual([])
}

type Given = Omit<SubmissionBody, 'executor'>

function bash(code: string, more: Given = {}, driving: Partial<Driving> = {}): Promise<Driven> {
  return drive({
    backend: opened.backend,
    settings: opened.settings(),
    submission: { runtime: 'bash', code, env: { [tag.name]: tag.value }, ...more },
    ...driving,
  })
}

/** A way to the target that can be cut. */
async function link(): Promise<Link> {
  const made = await startLink(opened.server.port)
  onTestFinished(() => made.close())
  return made
}

describe('ssh', () => {
  beforeAll(async () => {
    opened = await openSsh()
  })
  afterAll(() => opened.close())
  afterEach(nothingIsLeft)

  describe('a target that does not let us in', () => {
    test.each([
      [
        'a changed host key',
        { host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6p' },
        /^host key mismatch: .* presents/,
      ],
      ['a wrong password', { private_key: undefined, password: 'wrong' }, /^authentication refused/],
      ['an unknown user', { username: 'nobody-there' }, /^authentication refused/],
      ['a key that is none', { private_key: 'none' }, /private key cannot be read/],
      ['nobody who listens', { port: 1 }, /ECONNREFUSED/],
    ])('%s is our failure, in words', async (_, given, words) => {
      const settings = { ...opened.settings(), ...given }
      await expect(bash('echo never', {}, { settings })).rejects.toThrow(words)
    })

    test('a changed host key: nothing was sent, not even a name', async () => {
      const before = opened.server.log().length
      const settings = opened.settings({ host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6p' })
      await expect(bash('echo never', {}, { settings })).rejects.toThrow('nothing was sent')
      expect(opened.server.log().slice(before)).not.toMatch(/userauth|Failed|Accepted|errand/)
    })

    test.each([
      ['password', () => ({ private_key: undefined, password: opened.server.password })],
      [
        'key with a passphrase',
        () => ({ private_key: opened.server.protectedKey, passphrase: opened.server.passphrase }),
      ],
      [
        'fingerprint in the place of the key',
        () => ({ host_key: undefined, host_key_sha256: opened.server.fingerprint }),
      ],
    ])('that lets us in by %s runs code', async (_, given) => {
      const settings = { ...opened.settings(), ...given() }
      expect((await bash('echo in', {}, { settings })).stdout.toString()).toBe('in\n')
    })
  })

  describe('a check', () => {
    const check = (given: Partial<SshExecutor> = {}, requiredLimits: string[] = []) =>
      opened.backend.check({
        executor: {
          executor_type: 'ssh',
          name: 'checked',
          config_id: crypto.randomUUID(),
          source: 'config',
          settings: { ...opened.settings(), ...given },
        },
        runtime: 'bash',
        limits: { timeout_sec: 30, output_limit_kb: 1_024 },
        required_limits: requiredLimits,
        signal: AbortSignal.timeout(20_000),
      })

    test('says what works', async () => {
      const { runtime_id, findings } = await check()
      expect(runtime_id).toMatch(/^bash5/)
      expect(findings.filter(({ ok }) => !ok)).toEqual([])
      const looked = ['limits', 'connection', 'host_key', 'authentication', 'sandbox', 'interpreter', 'disk']
      expect(findings.map(({ what }) => what)).toEqual(looked)
      expect(findings.at(-1)?.detail).toMatch(/^\d+ MB are free/)
    })

    test.each([
      ['connection', { port: 1 }, []],
      ['host_key', { host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6p' }, []],
      ['authentication', { username: 'nobody-there' }, []],
      ['authentication', { private_key: 'none' }, []],
      ['interpreter', { code_executor_path: '/nowhere/bash' }, []],
      ['limits', {}, ['mem_limit_mb']],
    ])('says that the %s does not work, and what to do', async (what, given, requiredLimits) => {
      const { findings } = await check(given, requiredLimits)
      const wrong = findings.filter(({ ok }) => !ok)
      expect(wrong).toEqual([expect.objectContaining({ what, advice: expect.any(String) as string })])
    })

    test('the host keys that the target presents can be read', async () => {
      const { server, backend } = opened
      const signal = AbortSignal.timeout(10_000)
      const keys = await backend.hostKeys!({ host: server.host, port: server.port, signal })
      expect(keys).toContain(server.hostKey.split(' ').slice(0, 2).join(' '))
      expect(keys.map((line) => line.split(' ')[0])).toEqual(['ssh-ed25519', 'ecdsa-sha2-nistp256'])
    })
  })

  test('a limit that only control groups keep is refused by name', async () => {
    const run = bash('echo never', {}, { requiredLimits: ['mem_limit_mb', 'cpu_time_sec'] })
    await expect(run).rejects.toThrow(Rejected)
    await expect(run).rejects.toThrow(/^mem_limit_mb cannot be kept/)
  })

  test('cpu time is limited', async () => {
    const driven = await bash('while :; do :; done', { limits: { cpu_time_sec: 0.3 }, timeout_sec: 30 })
    expect(driven).toMatchObject({ outcome: 'timed_out', end: { killed_for: 'cpu_time' } })
  })

  test('an interpreter that is not there is our failure, in words', async () => {
    const settings = opened.settings({ code_executor_path: '/nowhere/bash' })
    await expect(bash('echo never', {}, { settings })).rejects.toThrow('no interpreter for bash on')
  })

  test('the record says where it ran, and in what', async () => {
    const { end } = await bash('whoami; pwd')
    expect(end).toMatchObject({ hostname: '127.0.0.1', isolation: { sandbox: 'remote', network: 'host' } })
  })

  test('40 runs at once, with the settings that sshd comes with', async () => {
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, number) =>
        bash(`echo ${number}; sleep 0.2; echo end`, {}, { slot: number }),
      ),
    )
    expect(all.map(({ stdout }) => stdout.toString())).toEqual(all.map((_, number) => `${number}\nend\n`))
  })

  test('our descriptors do not grow with runs', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length
    await bash('true')
    const before = open()
    for (let number = 0; number < 30; number++) await bash('true')
    expect(open()).toBeLessThanOrEqual(before)
  })

  describe('the link is cut', () => {
    const numbers =
      'for i in $(seq 1 20000); do echo "line $i"; [ $((i % 2000)) = 0 ] && sleep 0.1; done; echo err >&2'
    const expected = Array.from({ length: 20_000 }, (_, index) => `line ${index + 1}\n`).join('')

    test('in the middle of output: the run is collected, exact', async () => {
      const way = await link()
      let cuts = 0
      const driven = await bash(
        numbers,
        { timeout_sec: 20 },
        {
          settings: opened.settings({ port: way.port }),
          watch: (_, text) => {
            if (cuts >= 3 || text.length < 30_000 * (cuts + 1)) return
            cuts += 1
            way.cut()
            setTimeout(() => way.restore(), 150)
          },
        },
      )
      expect(cuts).toBe(3)
      expect(driven.outcome).toBe('succeeded')
      expect(driven.stdout.toString()).toBe(expected)
      expect(driven.stderr.toString()).toBe('err\n')
    })

    test('until after the run has ended: how it ended is collected', async () => {
      const way = await link()
      const driven = await bash(
        'echo begun; sleep 0.5; echo ended; exit 7',
        { timeout_sec: 10 },
        {
          settings: opened.settings({ port: way.port }),
          watch: (_, text) => {
            if (text !== 'begun\n') return
            way.cut()
            setTimeout(() => way.restore(), 2_500)
          },
        },
      )
      expect(driven).toMatchObject({ outcome: 'failed', end: { exit_code: 7 } })
      expect(driven.stdout.toString()).toBe('begun\nended\n')
    })

    test('NET-13: meanwhile the target keeps the time limit by itself', async () => {
      const way = await link()
      let gone: Promise<unknown> | undefined
      const driven = await bash(
        'echo begun; sleep 300',
        { timeout_sec: 1 },
        {
          settings: opened.settings({ port: way.port }),
          watch: (_, text) => {
            if (text !== 'begun\n') return
            way.cut()
            gone = until('the run has ended', () => processesWith(tag.name, tag.value).length === 0, {
              withinMs: 3_000,
            }).finally(() => way.restore())
          },
        },
      )
      await gone
      expect(driven).toMatchObject({
        outcome: 'timed_out',
        end: { killed_for: 'wall_time', signal: 'SIGKILL' },
      })
      expect(driven.stdout.toString()).toBe('begun\n')
    })

    test('for longer than the run may be collected: it is lost, and what is left goes at the next connect', async () => {
      const way = await link()
      const settings = opened.settings({ port: way.port })
      const began = performance.now()
      const run = bash('echo begun; sleep 300', { timeout_sec: 0.5 }, { settings, watch: () => way.cut() })
      await expect(run).rejects.toThrow(Lost)
      await expect(run).rejects.toThrow(/^the link to errand@.* was lost/)
      const took = performance.now() - began
      expect(took).toBeGreaterThan(5_000)
      expect(took).toBeLessThan(15_000)
      expect(opened.leftovers().length).toBe(1)
      way.restore()
      await bash('true', {}, { settings })
    })

    test('without a word: the target ends the run in time, it is lost, and swept at the next connect (NET-13)', async () => {
      const run = bash(
        'echo begun; (setsid sleep 300 &); sleep 300',
        // A busy machine takes its time to pause anything.
        { timeout_sec: 3 },
        { watch: () => void opened.server.pause() },
      )
      await expect(run).rejects.toThrow(Lost)
      expect(processesWith(tag.name, tag.value)).toEqual([])
      await opened.server.resume()
      await bash('true')
    })

    test('and the run canceled: it is over soon, whether the target can be reached or not', async () => {
      const way = await link()
      const settings = opened.settings({ port: way.port })
      const began = performance.now()
      const run = bash(
        'echo begun; sleep 300',
        { timeout_sec: 60 },
        {
          settings,
          watch: (_, _text, stop) => {
            way.cut()
            stop('canceled')
          },
        },
      )
      await expect(run).rejects.toThrow(Lost)
      expect(performance.now() - began).toBeLessThan(30_000)
      way.restore()
      await bash('true', {}, { settings })
    })

    test('while it waits for its next run: that run does not notice', async () => {
      const way = await link()
      const settings = opened.settings({ port: way.port })
      await bash('true', {}, { settings })
      way.cut()
      way.restore()
      expect((await bash('echo again', {}, { settings })).stdout.toString()).toBe('again\n')
      // For the bundle that the broken connection may have taken: it must find that its run was begun.
      const [begun] = opened.leftovers()
      rmSync(join(opened.server.home, '.errand/runs', begun!), { recursive: true })
    })
  })

  describe('on the target', () => {
    test('everything is killed in the middle of a run: it is lost, and swept at the next connect', async () => {
      let crashed: Promise<void> | undefined
      const run = bash(
        'echo begun; sleep 300',
        { timeout_sec: 30 },
        {
          watch: () => {
            crashed ??= opened.server.crash().then(() => opened.server.start())
          },
        },
      )
      await expect(run).rejects.toThrow(Lost)
      await crashed
      await bash('true')
    })

    test('sshd alone is killed: the run goes on, and is collected', async () => {
      let killed: Promise<void> | undefined
      const driven = await bash(
        'echo begun; sleep 1; echo ended',
        { timeout_sec: 30 },
        {
          watch: () => {
            killed ??= opened.server.kill().then(() => opened.server.start())
          },
        },
      )
      await killed
      expect(driven.outcome).toBe('succeeded')
      expect(driven.stdout.toString()).toBe('begun\nended\n')
    })

    test('code that stops everything it can is ended all the same', async () => {
      const code =
        'echo begun; for p in $(ps -o pid= -u $(id -u)); do [ $p = $$ ] || kill -STOP $p; done; sleep 300'
      const began = performance.now()
      const driven = await bash(code, { timeout_sec: 1 })
      expect(driven.outcome).toBe('timed_out')
      expect(driven.stdout.toString()).toBe('begun\n')
      expect(performance.now() - began).toBeLessThan(15_000)
    })

    test('what we had there is removed: the next run finds it made again', async () => {
      await bash('true')
      rmSync(join(opened.server.home, '.errand'), { recursive: true })
      expect((await bash('echo again')).stdout.toString()).toBe('again\n')
    })

    test('what earlier runs left cannot be looked at: nothing runs beside it', async () => {
      await bash('true')
      const way = await link()
      const runs = join(opened.server.home, '.errand/runs')
      renameSync(runs, `${runs}-elsewhere`)
      symlinkSync(`${runs}-elsewhere`, runs)
      const run = bash('echo never', {}, { settings: opened.settings({ port: way.port }) })
      await expect(run).rejects.toThrow('cannot be ended')
      rmSync(runs)
      renameSync(`${runs}-elsewhere`, runs)
    })

    test('code that kills its box is lost, and not said to have ended in any way', async () => {
      await expect(bash('kill -9 $PPID; sleep 5')).rejects.toThrow(Lost)
    })

    test('what a dead agent left there is ended and removed at the first connect of the next', async () => {
      const { server } = opened
      const dead = await openSsh({ server, spoolId: 'dead' })
      const never = bash(
        'echo begun; (setsid sleep 300 &); sleep 300',
        { timeout_sec: 300 },
        {
          backend: dead.backend,
          watch: () => void dead.close(),
        },
      ).catch(() => {})
      await until('it has begun', () => processesWith(tag.name, tag.value).length > 1)
      const next = await openSsh({ server, spoolId: 'dead' })
      onTestFinished(() => next.close())
      await bash('true', {}, { backend: next.backend })
      expect(processesWith(tag.name, tag.value)).toEqual([])
      expect(opened.leftovers()).toEqual([])
      void never
    })
  })
})
