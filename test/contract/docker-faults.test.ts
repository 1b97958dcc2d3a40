import { execFileSync } from 'node:child_process'
import { dockerExecutor, runtimes } from '@errand/shared'
import type { SubmissionBody } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { testImages, madeTestImages } from '../../infra/test-images.ts'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import type { DockerEngine } from '../../infra/docker-engine.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { Lost, NotStarted, Rejected } from '../../apps/agent/src/backends/backend.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { startEngineProxy } from './engine-proxy.ts'
import { docker, leavesNothing, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

const hello = { code: 'print("hello")' }
const sleeper = { code: 'print("ready", flush=True); import time; time.sleep(60)' }

function runOn(
  { backend }: OpenDocker,
  submission: Omit<SubmissionBody, 'executor'>,
  settings: object = {},
  more: Partial<Driving> = {},
): Promise<Driven> {
  const all = dockerExecutor.parse({ image: testImages.python, ...settings })
  return drive({ backend, settings: all, submission, ...more })
}

/** Once the program is at work. */
function whenReady(act: () => unknown): Partial<Driving> {
  let acted = false
  return {
    watch(_, text) {
      if (acted || !text.includes('ready')) return
      acted = true
      act()
    },
  }
}

describe('docker', () => {
  let socketPath: string
  let opened: OpenDocker
  beforeAll(async () => {
    socketPath = await testDockerEngine()
    opened = await openDocker(socketPath)
  }, 180_000)
  afterEach(() => leavesNothing(opened))
  afterAll(() => opened.close())

  const imagesOf = (mark: string): string[] =>
    docker(socketPath, 'images', '--all', '--quiet', `--filter=label=${labels.agent}=${mark}`)

  test('needs no shell, no libraries and no PATH in an image', async () => {
    const settings = { image: testImages.bare, code_executor_path: '/usr/bin/python3' }
    const { stdout, end } = await runOn(opened, hello, settings)
    expect(stdout.toString()).toContain(hello.code)
    expect(end.runtime_id).toBe('python3.0.0')
  })

  test('fails by its own fault where the image has no interpreter, and says what it looked for', async () => {
    await expect(runOn(opened, { ...hello, runtime: 'ruby' })).rejects.toThrow(
      `no interpreter for ruby in the image ${testImages.python}: looked for ruby in /usr/local/bin, /usr/bin, /bin`,
    )
    await expect(runOn(opened, hello, { code_executor_path: '/opt/python' })).rejects.toThrow(
      `no interpreter for python in the image ${testImages.python}: looked for /opt/python`,
    )
  })

  test.each([
    [{ network: 'bridge' }, 'network: bridge'],
    [{ engine: 'oci', oci_runtime: 'crun', warm: 1 }, 'engine: oci, oci_runtime, warm'],
  ])('refuses what is still to come: %o', async (settings, words) => {
    const refused = runOn(opened, hello, settings)
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow(`not available yet on docker executors: ${words}`)
  })

  test('refuses files that do not fit onto its disk', async () => {
    const refused = runOn(opened, { code: `#${'x'.repeat(2_000_000)}` }, { disk_limit_mb: 1 })
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow('its files need more than disk_limit_mb')
  })

  test.each([
    [
      'killed',
      ['kill'],
      'its container was killed from outside while it ran (exit code 137, not for memory)',
    ],
    ['removed', ['rm', '--force'], /its container was (removed|killed) from outside while it ran/],
  ])('is at fault itself when the container is %s from outside', async (_, command, words) => {
    const name = (): string => opened.leftovers().find((one) => !one.includes('ask'))!
    const ended = runOn(
      opened,
      sleeper,
      {},
      whenReady(() => docker(socketPath, ...command, name())),
    )
    await expect(ended).rejects.toThrow(words)
    await expect(ended).rejects.not.toBeInstanceOf(Rejected)
  })

  test('makes the volume of its box anew when somebody has pruned it', async () => {
    await runOn(opened, hello)
    const [volume] = docker(socketPath, 'volume', 'ls', '-q', `--filter=label=${labels.agent}=${opened.mark}`)
    docker(socketPath, 'volume', 'rm', volume!)
    const burst = await Promise.all([0, 1, 2, 3].map((slot) => runOn(opened, hello, {}, { slot })))
    expect(burst.map(({ stdout }) => stdout.toString())).toEqual(Array(4).fill('hello\n'))
    expect(docker(socketPath, 'volume', 'ls', '-q', `--filter=name=${volume}`)).toEqual([])
  })

  test('removes what an agent that died left, and what was forgotten, and nothing else', async () => {
    const create = (...given: string[]): string => {
      const container = ['create', '--network=none', ...given.map((label) => `--label=${label}`)]
      return docker(socketPath, ...container, testImages.python, 'sleep', '60')[0]!
    }
    const own = `${labels.agent}=${opened.mark}-dead`
    const other = `${labels.agent}=${opened.mark}-other`
    const at = (sec: number): string => `${labels.expiresAt}=${Math.floor(Date.now() / 1_000) + sec}`
    const kept = [create(other, at(60)), create(other, at(-60)), create('com.example=ours')]
    const removed = [create(own, at(60)), create(other, at(-4_000))]
    docker(socketPath, 'start', removed[0]!)
    execFileSync('docker', ['--host', `unix://${socketPath}`, 'build', '--quiet', `--label=${own}`, '-'], {
      input: `FROM ${testImages.python}\n`,
    })
    expect(imagesOf(`${opened.mark}-dead`)).toHaveLength(1)
    const second = await openDocker(socketPath, { mark: `${opened.mark}-dead` })
    const there = docker(socketPath, 'ps', '--all', '--quiet', '--no-trunc')
    expect(removed.filter((id) => there.includes(id))).toEqual([])
    expect(kept.filter((id) => there.includes(id))).toEqual(kept)
    docker(socketPath, 'rm', ...kept)
    expect(imagesOf(`${opened.mark}-dead`)).toEqual([])
    await second.close()
  })

  test('closes without leaving anything on the Engine', async () => {
    const other = await openDocker(socketPath)
    await runOn(other, hello)
    await other.close()
    expect(docker(socketPath, 'volume', 'ls', '-q', `--filter=label=${labels.agent}=${other.mark}`)).toEqual(
      [],
    )
    expect(imagesOf(other.mark)).toEqual([])
  })

  describe('behind a connection that is cut', () => {
    const behindProxy = async () => {
      const proxy = await startEngineProxy(socketPath)
      const behind = await openDocker(socketPath, {
        reachedBy: proxy.socketPath,
        time: { renewEveryMs: 200 },
      })
      onTestFinished(async () => {
        await behind.close()
        proxy.close()
      })
      return { proxy, behind }
    }

    test.each(['/containers/create?name=errand-', '/start', '/json'])(
      'CR-30: goes on when the answer to %s is lost',
      async (part) => {
        const { proxy, behind } = await behindProxy()
        await runOn(behind, hello)
        const lost: string[] = []
        proxy.loseAnswer((_, path) => path.includes(part) && lost.push(path) > 0)
        expect((await runOn(behind, hello)).stdout.toString()).toBe('hello\n')
        expect(lost).toHaveLength(1)
        expect(await behind.lasting()).toEqual([])
      },
    )

    test('goes on when the answer to the making of the volume of its box is lost', async () => {
      const { proxy, behind } = await behindProxy()
      proxy.loseAnswer((_, path) => path.includes('/containers/create?name=errand-box-'))
      expect((await runOn(behind, hello)).stdout.toString()).toBe('hello\n')
      expect(await behind.lasting()).toEqual([])
      expect(behind.logged).toEqual([])
    })

    test('reads on where the streams were cut, again and again, to the byte', async () => {
      const { proxy, behind } = await behindProxy()
      const code =
        'import time\nfor n in range(60): print(n, flush=True); time.sleep(0.05)\nprint("end", end="")'
      const cuts = ['10\n', '11\n', '30\n']
      const { outcome, stdout, end } = await runOn(
        behind,
        { code },
        {},
        {
          watch: (_, text) => void (text.includes(cuts[0]!) && cuts.shift() && proxy.cut()),
        },
      )
      expect(cuts).toEqual([])
      expect(stdout.toString()).toBe(`${Array.from({ length: 60 }, (_, n) => `${n}\n`).join('')}end`)
      expect([outcome, end.usage?.cpu_time_sec]).toEqual(['succeeded', expect.any(Number)])
    })

    test('ends at a cancel what it can tell nothing any more', async () => {
      const { proxy, behind } = await behindProxy()
      const canceled = await runOn(
        behind,
        sleeper,
        {},
        {
          watch(_, text, stop) {
            if (!text.includes('ready')) return
            proxy.cut()
            setTimeout(() => stop('canceled'), 200)
          },
        },
      )
      expect(canceled).toMatchObject({ outcome: 'canceled', end: { signal: 'SIGKILL' } })
    })
  })
})

describe('docker on an Engine of its own, which fails', () => {
  let engine: DockerEngine
  let opened: OpenDocker
  beforeAll(async () => {
    engine = await startDockerEngine({
      images: await madeTestImages(),
      settings: { 'live-restore': true },
    })
    opened = await openDocker(engine.socketPath, { time: { engineAnswerMs: 20_000, renewEveryMs: 200 } })
    await runOn(opened, hello)
  }, 180_000)
  afterAll(async () => {
    await opened.close()
    await engine.stop()
  })

  // Not on the Engine that test files share: others' containers are long overdue by that clock.
  test('leaves its live runs alone, whatever the clock says', async () => {
    onTestFinished(() => void vi.restoreAllMocks())
    const tomorrow = Date.now() + 86_400_000
    const ran = await runOn(
      opened,
      { code: 'print("ready", flush=True); import time; time.sleep(1.5)' },
      {},
      whenReady(() => vi.spyOn(Date, 'now').mockReturnValue(tomorrow)),
    )
    expect(ran.outcome).toBe('succeeded')
  })

  test('CR-28: goes on with what ran when the Engine was killed, and what that ran goes on', async () => {
    const code =
      'import time\nprint("ready", flush=True)\nfor n in range(40): print(n, flush=True); time.sleep(0.1)\nexit(9)'
    const ran = await runOn(
      opened,
      { code },
      {},
      whenReady(() => engine.kill().then(() => engine.start())),
    )
    expect(ran.stdout.toString()).toBe(`ready\n${Array.from({ length: 40 }, (_, n) => `${n}\n`).join('')}`)
    expect([ran.outcome, ran.end.exit_code, ran.end.usage !== null]).toEqual(['failed', 9, true])
    expect(await opened.lasting()).toEqual([])
  })

  test('loses what ran when the Engine is killed and stays away, and takes the next once it is back', async () => {
    const hasty = await openDocker(engine.socketPath, { time: { engineBackMs: 100, renewEveryMs: 200 } })
    onTestFinished(() => hasty.close())
    const lost = runOn(
      hasty,
      sleeper,
      {},
      whenReady(() => void engine.kill()),
    )
    await expect(lost).rejects.toThrow(Lost)
    await expect(lost).rejects.toThrow(
      /its container was left while it ran: the Docker Engine at unix:.* does not answer/,
    )
    await expect(runOn(opened, hello)).rejects.toThrow(
      `the Docker Engine at unix://${engine.socketPath} does not answer (ECONNREFUSED): is it running?`,
    )
    expect(await opened.backend.probe()).toMatchObject({ available: false, isolation: null })
    await engine.start()
    expect((await runOn(opened, hello)).outcome).toBe('succeeded')
    expect([await opened.lasting(), await hasty.lasting()]).toEqual([[], []])
  })

  test('CR-29: ends a run in time, though the Engine hangs, and removes it once it does no more', async () => {
    const began = performance.now()
    const hung = runOn(
      opened,
      { ...sleeper, timeout_sec: 1 },
      {},
      whenReady(() => void engine.pause()),
    )
    await expect(hung).rejects.toThrow(
      /it could not be ended: the Docker Engine at .* did not answer in 2 s when asked to /,
    )
    // its limit, and the 5 s of promise 6; and as long again for a machine that does much else
    expect(performance.now() - began).toBeLessThan(6_000 + 6_000)
    await engine.resume()
    expect(await opened.lasting()).toEqual([])
    expect((await runOn(opened, hello)).outcome).toBe('succeeded')
  })

  test('starts nothing on an Engine that hangs, and says so', async () => {
    const impatient = await openDocker(engine.socketPath, {
      time: { engineAnswerMs: 2_000, renewEveryMs: 200 },
    })
    await engine.pause()
    await expect(runOn(impatient, hello)).rejects.toThrow(/did not answer in 2 s when asked to/)
    await engine.resume()
    expect(await impatient.lasting()).toEqual([])
    await impatient.close()
  })

  test('obeys a cancel at once, though the Engine hangs', async () => {
    await engine.pause()
    const canceled = runOn(
      opened,
      hello,
      {},
      { begin: (stop) => void setTimeout(() => stop('canceled'), 100) },
    )
    // Before the Engine has answered anything.
    await expect(canceled).rejects.toThrow(NotStarted)
    await engine.resume()
    // Until then the Engine has also made what the canceled run had asked for.
    expect((await runOn(opened, hello)).outcome).toBe('succeeded')
    expect(await opened.lasting()).toEqual([])
  })
})

describe('docker without an Engine', () => {
  test.each([
    [
      '/nowhere/docker.sock',
      'the Docker Engine at unix:///nowhere/docker.sock does not answer (ENOENT): is it running?',
    ],
    ['relative', 'DOCKER_HOST unix://relative is not understood: it must be unix:///PATH or tcp://HOST:PORT'],
  ])('at %s says so, and the agent goes on', async (path, words) => {
    const opened = await openDocker(path)
    const { available, isolation, missing } = await opened.backend.probe()
    expect([available, isolation]).toEqual([false, null])
    expect(missing[0]).toContain(words)
    await expect(runOn(opened, hello, { image: runtimes.python.image })).rejects.toThrow(words)
    await opened.close()
  })
})
