import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { SubmissionBody } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Lost } from '../../apps/agent/src/backends/backend.ts'
import { ownBoxFor } from '../../apps/agent/src/backends/ssh/own-box.ts'
import { startLink } from '../system/harness/link.ts'
import type { Link } from '../system/harness/link.ts'
import { until } from '../system/harness/until.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { tag } from './harness.ts'
import { openSsh } from './open-ssh.ts'
import type { OpenSsh } from './open-ssh.ts'
import { processesWith } from './processes-with.ts'

const choices = { findBox: () => Promise.resolve(undefined) }
let opened: OpenSsh

function nothingIsLeft(): void {
  expect(processesWith(tag.name, tag.value)).toEqual([])
  expect(opened.leftovers()).toEqual([])
}

function bash(
  code: string,
  more: Omit<SubmissionBody, 'executor'> = {},
  driving: Partial<Driving> = {},
): Promise<Driven> {
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

describe('ssh where the box cannot run', () => {
  beforeAll(async () => {
    opened = await openSsh({ choices })
  })
  afterAll(() => opened.close())
  afterEach(nothingIsLeft)

  test('a box for other machines is tried, and a check says why the shell is used', async () => {
    const other = process.arch === 'arm64' ? 'x86_64' : 'aarch64'
    const { server } = opened
    const far = await openSsh({ server, choices: { findBox: () => ownBoxFor(other) } })
    onTestFinished(() => far.close())
    const { end, stdout } = await bash('echo ran', {}, { backend: far.backend })
    expect(stdout.toString()).toBe('ran\n')
    expect(end).toMatchObject({
      isolation: { sandbox: 'remote_shell' },
      usage: { cpu_time_sec: null, peak_memory_mb: null },
    })
    const { findings } = await far.backend.check({
      executor: {
        executor_type: 'ssh',
        name: 'checked',
        config_id: crypto.randomUUID(),
        source: 'config',
        settings: { ...opened.settings() },
      },
      runtime: 'bash',
      limits: { timeout_sec: 30, output_limit_kb: 1_024 },
      required_limits: ['cpu_time_sec'],
      signal: AbortSignal.timeout(20_000),
    })
    expect(findings.filter(({ ok }) => !ok).map(({ what }) => what)).toEqual(['limits'])
    const { detail } = findings.find(({ what }) => what === 'sandbox')!
    expect(detail).toMatch(/the shell there runs it, because our box cannot run: .*Exec format error/s)
  })

  test('a limit of cpu time is refused by name', async () => {
    const run = bash('echo never', { limits: { cpu_time_sec: 1 } }, { requiredLimits: ['cpu_time_sec'] })
    await expect(run).rejects.toThrow(/^cpu_time_sec cannot be kept/)
  })

  test('a file that does not come whole runs nothing, and one that does runs once', async () => {
    const way = await link()
    const settings = opened.settings({ port: way.port })
    await bash('true', {}, { settings })
    const run = bash(
      'echo ran',
      { stdin: 'x'.repeat(1_000_000) },
      {
        settings,
        begin: () => {
          way.sent = 0
          const cutting = setInterval(() => {
            if (way.sent < 100_000) return
            clearInterval(cutting)
            way.cut()
            setTimeout(() => way.restore(), 100)
          }, 1)
        },
      },
    )
    expect((await run).stdout.toString()).toBe('ran\n')
    // Should the file that was cut come late after all, it must find that its run was begun.
    const [begun] = opened.leftovers()
    rmSync(join(opened.server.home, '.errand/runs', begun!), { recursive: true })
  })

  describe('the link is cut', () => {
    test('in the middle of output: the run is collected, exact', async () => {
      const way = await link()
      let cuts = 0
      const driven = await bash(
        'for i in $(seq 1 20000); do echo "line $i"; [ $((i % 2000)) = 0 ] && sleep 0.1; done; echo err >&2',
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
      const expected = Array.from({ length: 20_000 }, (_, index) => `line ${index + 1}\n`).join('')
      expect(driven.stdout.toString()).toBe(expected)
      expect(driven.stderr.toString()).toBe('err\n')
    })

    test('until after the run has ended: how it ended is collected', async () => {
      const way = await link()
      const driven = await bash(
        'echo begun; sleep 0.5; echo ended; exit 7',
        { timeout_sec: 2 },
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

    test('meanwhile the target keeps the time limit by itself', async () => {
      const way = await link()
      let gone: Promise<unknown> | undefined
      const driven = await bash(
        'echo begun; sleep 300',
        { timeout_sec: 2 },
        {
          settings: opened.settings({ port: way.port }),
          watch: (_, text) => {
            if (text !== 'begun\n') return
            way.cut()
            gone = until('the run has ended', () => processesWith(tag.name, tag.value).length === 0, {
              withinMs: 5_000,
            }).finally(() => way.restore())
          },
        },
      )
      await gone
      const end = { killed_for: 'wall_time', signal: 'SIGKILL' }
      expect(driven).toMatchObject({ outcome: 'timed_out', end })
      expect(driven.stdout.toString()).toBe('begun\n')
    })

    test('for longer than the run may be collected: it is lost, and what is left goes at the next connect', async () => {
      const way = await link()
      const settings = opened.settings({ port: way.port })
      const run = bash('echo begun; sleep 300', { timeout_sec: 1 }, { settings, watch: () => way.cut() })
      await expect(run).rejects.toThrow(Lost)
      expect(opened.leftovers().length).toBe(1)
      way.restore()
      await bash('true', {}, { settings })
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

    test('code that stops everything it can is ended all the same', async () => {
      const code =
        'echo begun; for p in $(ps -o pid= -u $(id -u)); do [ $p = $$ ] || kill -STOP $p; done; sleep 300'
      const driven = await bash(code, { timeout_sec: 1 })
      expect(driven.outcome).toBe('timed_out')
      expect(driven.stdout.toString()).toBe('begun\n')
    })

    test('code that kills what waits for it is lost, and not said to have ended in any way', async () => {
      await expect(bash('kill -9 $PPID; sleep 5')).rejects.toThrow(Lost)
    })

    test('what a dead agent left there is ended and removed at the first connect of the next', async () => {
      const { server } = opened
      const dead = await openSsh({ server, spoolId: 'dead', choices })
      const never = bash(
        'echo begun; (setsid sleep 300 &); sleep 300',
        { timeout_sec: 300 },
        { backend: dead.backend, watch: () => void dead.close() },
      ).catch(() => {})
      await until('it has begun', () => processesWith(tag.name, tag.value).length > 1)
      const next = await openSsh({ server, spoolId: 'dead', choices })
      onTestFinished(() => next.close())
      await bash('true', {}, { backend: next.backend })
      expect(processesWith(tag.name, tag.value)).toEqual([])
      void never
    })
  })
})
