import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { AgentPolicy, JobProgress } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { IndexFault, PackageIndexServer } from '../../infra/package-index.ts'
import { Missing, Rejected } from '../../apps/agent/src/backends/backend.ts'
import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { driveInstall } from './drive-install.ts'
import type { Installed, Installing } from './drive-install.ts'
import type { Dying } from './dying-installer.ts'
import { serveHostile } from './hostile-package.ts'

/** What the suite needs to know of a backend that installs. */
export interface DependencyHarness {
  index: PackageIndexServer
  /** An agent of its own; with `same` the one that was opened first, as after its restart. */
  open(given?: { same?: boolean; policy?: Partial<AgentPolicy>; now?: () => number }): Promise<OpenInstaller>
  /** Validated settings of an executor, where packages come from the index if nothing else is said. */
  settings(more: Record<string, unknown> & { runtime: 'python' | 'node' }): Record<string, unknown>
  /** What `dying-installer.ts` opens as the first of `open`. */
  dying(): Pick<Dying, 'backend' | 'given'>
  /** Where sets lie: those of all agents of the suite, and what is left half. */
  lying(): Promise<string[]>
  /** As somebody else would remove one of these. */
  remove(lying: string): Promise<void>
  /** Ends the agent that was opened last, and removes its sets. */
  empty(opened: OpenInstaller): Promise<void>
  /** The packages of the index, as files. */
  indexDir: string
  /** Another index, which wants to know who asks. */
  guardedIndex(auth: { username: string; password: string }): Promise<PackageIndexServer>
  /** Whatever installations and runs left besides sets. */
  leftovers(): Promise<string[]>
  close(): Promise<void>
}

export interface OpenInstaller {
  backend: Backend
  close(): Promise<void>
}

/** Of what not every backend can keep. */
type Excepted =
  | 'noted by its agent'
  | 'a network of its own'
  | 'telling whose fault it is'
  | 'a folder as an index'
  | 'sealed sets'

/**
 * What every backend keeps that installs dependency sets.
 *
 * @param exceptions what it does not keep, each with the reason
 */
export function dependenciesContract(
  name: string,
  openHarness: () => Promise<DependencyHarness>,
  exceptions: Partial<Record<Excepted, string>> = {},
): void {
  describe(`dependencies on ${name}`, { timeout: 120_000 }, () => {
    let harness: DependencyHarness
    let index: PackageIndexServer
    let backend: Backend
    let first: OpenInstaller
    beforeAll(async () => {
      harness = await openHarness()
      index = harness.index
      first = await harness.open()
      backend = first.backend
    }, 180_000)
    afterEach(async () => {
      index.fault = undefined
      expect(await harness.leftovers()).toEqual([])
    })
    afterAll(async () => {
      await first.close()
      await harness.close()
    })

    const tellsWhoseFault = !('telling whose fault it is' in exceptions)
    let sets = 0
    /** Each time another set. */
    const another = (): string => `errand-gamma>=0.0.${++sets}`
    const settings = (more: object = {}, runtime: 'python' | 'node' = 'python'): Record<string, unknown> =>
      harness.settings({ runtime, allow_dependencies: true, ...more })
    const install = (dependencies: string[], more: Partial<Installing> & { executor?: object } = {}) => {
      const { executor, runtime = 'python', ...rest } = more
      return driveInstall({ backend, settings: settings(executor, runtime), runtime, dependencies, ...rest })
    }
    const run = (
      code: string,
      dependencies: string[],
      more: Partial<Driving> & { executor?: object; runtime?: 'python' | 'node' } = {},
    ): Promise<Driven> => {
      const { executor, runtime = 'python', ...rest } = more
      const submission = { runtime, code, dependencies }
      return drive({ backend, settings: settings(executor, runtime), submission, ...rest })
    }
    const failing = async (installing: Promise<Installed>): Promise<Error> => {
      const ended = await installing.then(
        () => new Error('it succeeded'),
        (error: Error) => error,
      )
      expect(ended.message).not.toBe('it succeeded')
      return ended
    }
    /** Settles when the index was asked for this; what it then does is `fault`. */
    const asked = (wanted: RegExp, fault: IndexFault): Promise<void> =>
      new Promise((resolve) => {
        index.fault = (path) => {
          if (!wanted.test(path)) return undefined
          resolve()
          return fault
        }
      })

    test('packages and what they need are installed once, and programs import them', async () => {
      const dependencies = ['errand-alpha', 'errand-gamma']
      const code = `import errand_alpha, errand_gamma, errand_beta, sys
print(errand_alpha.told(), '|', errand_gamma.told(), '|', errand_beta.told(), sys.argv[1:])`
      const missing = run(code, dependencies)
      await expect(missing).rejects.toThrow(Missing)
      await expect(missing).rejects.toMatchObject({ need: 'runtime.install' })
      const { result, log } = await install(dependencies)
      expect(result).toMatchObject({ digest: expect.stringMatching(/^[0-9a-f]{64}$/), already_there: false })
      expect(result.bytes).toBeGreaterThan(10_000)
      expect(log.map(({ message }) => message).join('\n')).toContain('Successfully installed')
      const before = index.log.length
      for (let round = 0; round < 2; round++) {
        const { stdout, stderr, end } = await run(code, dependencies)
        expect(stderr.toString()).toBe('')
        expect(stdout.toString()).toBe('alpha 1.1, beta 1.2 | gamma 0.1 | beta 1.2 []\n')
        expect(end.runtime_id).toMatch(/^python3\./)
      }
      const again = await install(dependencies.toReversed())
      expect(again.result).toMatchObject({ digest: result.digest, bytes: result.bytes, already_there: true })
      expect(index.log.slice(before)).toEqual([])
    })

    test('Node finds them by require and by import, in a program of several files too', async () => {
      const dependencies = ['errand-left@1.0.0']
      await install(dependencies, { runtime: 'node' })
      const code = `console.log(require('errand-left')); import('errand-left').then((one) => console.log(one.default))`
      const driven = await run(code, dependencies, { runtime: 'node' })
      expect(driven.stderr.toString()).toBe('')
      expect(driven.stdout.toString()).toBe('left 1.0.0, right 1.1.0\n'.repeat(2))
      const files = [
        {
          path: 'src/main.mjs',
          content: `import left from 'errand-left'; import own from 'own'; console.log(left, own)`,
        },
        { path: 'node_modules/own/index.js', content: `module.exports = 'and own'` },
      ]
      const { stdout, stderr } = await drive({
        backend,
        settings: settings({}, 'node'),
        submission: { runtime: 'node', files, entrypoint: 'src/main.mjs', dependencies },
      })
      expect(stderr.toString()).toBe('')
      expect(stdout.toString()).toBe('left 1.0.0, right 1.1.0 and own\n')
    })

    test('what others install is not seen', async () => {
      const [one, other] = ['errand-beta>=1', another()]
      await install([one])
      await install([other])
      const { stderr, end } = await run('import errand_beta', [other])
      expect(end.exit_code).toBe(1)
      expect(stderr.toString()).toContain("No module named 'errand_beta'")
      expect((await run('import errand_gamma', [])).stderr.toString()).toContain('No module named')
    })

    test('two that ask at once get one installation', async () => {
      const dependencies = [another()]
      const before = index.fetched('errand_gamma-0.1')
      const both = await Promise.all([install(dependencies), install(dependencies, { slot: 1 })])
      expect(both.filter(({ result }) => result.already_there)).toHaveLength(1)
      expect(index.fetched('errand_gamma-0.1')).toBe(before + 1)
    })

    test('the second of two goes on where the first was canceled', async () => {
      const dependencies = [another()]
      const cancel = new AbortController()
      const silent = asked(/simple/, 'silent')
      const canceled = failing(install(dependencies, { signal: cancel.signal }))
      await silent
      const second = install(dependencies, { slot: 1 })
      index.fault = undefined
      cancel.abort('canceled')
      await canceled
      expect((await second).result.already_there).toBe(false)
      expect((await run('import errand_gamma', dependencies)).outcome).toBe('succeeded')
    })

    test('it is told how far it is, at least once a second, also while the index says nothing', async () => {
      const cancel = new AbortController()
      const told: { at: number; progress: JobProgress }[] = []
      void asked(/\.whl/, 'silent').then(() => setTimeout(() => cancel.abort('canceled'), 2_500))
      const ended = failing(
        install([another()], {
          signal: cancel.signal,
          watch: ({ progress }) => progress && told.push({ at: performance.now(), progress }),
        }),
      )
      await ended
      const gaps = told.slice(1).map(({ at }, n) => at - told[n]!.at)
      expect(told.length).toBeGreaterThan(4)
      expect(Math.max(...gaps)).toBeLessThan(1_000)
      expect(told[0]!.progress.phase).toBe('resolving')
    })

    test.each([
      ['that there is not', ['errand-none'], 'errand-none'],
      ['in a version that there is not', ['errand-gamma>=5'], 'errand-gamma>=5'],
      ['that do not go together', ['errand-alpha==1.1', 'errand-beta<1'], 'errand-beta'],
    ])('packages %s are refused with what pip says of them', async (_, dependencies, words) => {
      const error = await failing(install(dependencies))
      expect(error.message).toContain(words)
      expect(error instanceof Rejected).toBe(tellsWhoseFault)
    })

    test('npm packages that there are not are refused with what npm says of them', async () => {
      const error = await failing(install(['errand-none@1.0.0'], { runtime: 'node' }))
      expect(error.message).toMatch(/E?404/)
      expect(error instanceof Rejected).toBe(tellsWhoseFault)
    })

    test('an index that cuts its answers, or is ill, fails it so that it may be tried again, and then it works', async () => {
      const dependencies = [another()]
      for (const fault of ['cut', { status: 503 }] as const) {
        void asked(/\.whl$/, fault)
        const error = await failing(install(dependencies))
        expect(error).not.toBeInstanceOf(Rejected)
        await expect(run('', dependencies)).rejects.toThrow(Missing)
      }
      index.fault = undefined
      await install(dependencies)
      expect((await run('import errand_gamma', dependencies)).outcome).toBe('succeeded')
    })

    test('a cancel ends it at once and leaves nothing', async () => {
      const dependencies = [another()]
      const before = await harness.lying()
      const cancel = new AbortController()
      const silent = asked(/\.whl$/, 'silent')
      const ended = failing(install(dependencies, { signal: cancel.signal }))
      await silent
      const at = performance.now()
      cancel.abort('canceled')
      await ended
      expect(performance.now() - at).toBeLessThan(3_000)
      expect(await harness.lying()).toEqual(before)
      await expect(run('', dependencies)).rejects.toThrow(Missing)
    })

    test.each([
      ['before anything is fetched', 'starting'],
      ['while a package is fetched', /\.whl$/],
      ['when all was installed and nobody had noted it', 'noting'],
      ['when it was noted', 'noted'],
    ] as const)('an agent that dies %s leaves nothing half', async (_, where) => {
      const dependencies = [another()]
      const dying: Dying = {
        ...harness.dying(),
        settings: settings(),
        dependencies,
        dieAt: typeof where === 'string' ? where : 'never',
      }
      const silent = typeof where === 'string' ? undefined : asked(where, 'silent')
      const script = join(import.meta.dirname, 'dying-installer.ts')
      await first.close()
      const agent = spawn(process.execPath, [script, JSON.stringify(dying)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      const exit = once(agent, 'exit')
      if (silent) {
        await Promise.race([silent, exit])
        agent.kill('SIGKILL')
      }
      expect(await exit).toEqual([null, 'SIGKILL'])
      index.fault = undefined
      first = await harness.open({ same: true })
      backend = first.backend
      // A target is looked through when it is needed.
      await run('', [])
      const whole = where === 'noted' || (where === 'noting' && 'noted by its agent' in exceptions)
      expect((await install(dependencies)).result.already_there).toBe(whole)
      const known = (await backend.stock!()).sets!.length
      expect(await harness.lying()).toHaveLength(known)
      expect((await run('import errand_gamma', dependencies)).outcome).toBe('succeeded')
    })

    test('a set is there after a restart, and known', async () => {
      const dependencies = [another()]
      const { result } = await install(dependencies)
      await first.close()
      first = await harness.open({ same: true })
      backend = first.backend
      const set = (await backend.stock!()).sets!.find(({ hash }) => hash === result.digest)
      expect(set).toMatchObject({
        executor: 'contract',
        runtime: 'python',
        runtime_id: expect.stringMatching(/^python3\./),
        bytes: result.bytes,
        in_use: false,
      })
      const before = index.log.length
      expect((await run('import errand_gamma', dependencies)).outcome).toBe('succeeded')
      expect(index.log.length).toBe(before)
    })

    test('a set that somebody has removed is missing, and installed anew', async () => {
      const dependencies = [another()]
      const before = await harness.lying()
      await install(dependencies)
      const added = (await harness.lying()).find((one) => !before.includes(one))
      await harness.remove(added!)
      await expect(run('import errand_gamma', dependencies)).rejects.toThrow(Missing)
      expect((await install(dependencies)).result.already_there).toBe(false)
      expect((await run('import errand_gamma', dependencies)).outcome).toBe('succeeded')
    })

    test('code of packages runs only where that is allowed', async () => {
      serveHostile(index, `told = 'it ran'`)
      const error = await failing(install(['errand-hostile']))
      expect(error.message).toContain('No matching distribution found for errand-hostile')
      const executor = { allow_install_scripts: true }
      await install(['errand-hostile'], { executor })
      const { stdout } = await run('import errand_hostile; print(errand_hostile.told)', ['errand-hostile'], {
        executor,
      })
      expect(stdout.toString()).toBe('it ran\n')
      const scripted = ['errand-scripted@1.0.0']
      const look = `console.log(require('fs').existsSync(require.resolve('errand-scripted').replace('index.js', 'ran')))`
      for (const allowed of [false, true]) {
        const given = { executor: { allow_install_scripts: allowed }, runtime: 'node' } as const
        await install(scripted, given)
        expect((await run(look, scripted, given)).stdout.toString()).toBe(`${allowed}\n`)
      }
    })

    test.skipIf('a network of its own' in exceptions)(
      'code that installs itself reaches nothing of this host, nor any other',
      async () => {
        const listener = createServer((socket) => socket.destroy())
        listener.listen(0, '127.0.0.1')
        await once(listener, 'listening')
        const { port } = listener.address() as AddressInfo
        let reached = 0
        listener.on('connection', () => (reached += 1))
        serveHostile(
          index,
          `import socket
told = []
for address in ('127.0.0.1', ${port}), ('127.0.0.1', ${new URL(index.pythonUrl).port}), ('192.0.2.1', 80):
    try:
        socket.create_connection(address, 2)
        told.append('reached')
    except OSError as error:
        told.append(error.strerror or 'timed out')`,
        )
        const executor = { allow_install_scripts: true, description: 'another' }
        const dependencies = ['errand-hostile==1.0']
        await install(dependencies, { executor })
        listener.close()
        const code = 'import errand_hostile; print(errand_hostile.told)'
        const { stdout } = await run(code, dependencies, { executor })
        expect(stdout.toString()).toBe(
          "['Connection refused', 'Connection refused', 'Network is unreachable']\n",
        )
        expect(reached).toBe(0)
      },
    )

    test.skipIf('sealed sets' in exceptions)('programs cannot change a set', async () => {
      const dependencies = [another()]
      await install(dependencies)
      const code = `import errand_gamma, os, sys
def tried(act):
    try: act(); return 'done'
    except OSError as error: return type(error).__name__
place = os.path.dirname(errand_gamma.__file__)
print(tried(lambda: open(errand_gamma.__file__, 'a')), tried(lambda: open(place + '/more.py', 'w')))
print(tried(lambda: os.rename(sys.prefix + '/bin', sys.prefix + '/other')), tried(lambda: os.chmod(place, 0o777)))`
      const { stdout } = await run(code, dependencies)
      expect(stdout.toString()).toMatch(/^((OSError|PermissionError)\s+){4}$/)
    })

    test('an index that wants to know who asks is told, and nobody else is', async () => {
      const secret = 'h0rse-battery'
      const guarded = await harness.guardedIndex({ username: 'who', password: secret })
      const executor = { index_url: guarded.pythonUrl, index_auth: { username: 'who', password: secret } }
      const { log } = await install([another()], { executor })
      const basic = Buffer.from(`who:${secret}`).toString('base64')
      expect(guarded.log.some(({ headers }) => headers.authorization === `Basic ${basic}`)).toBe(true)
      expect(JSON.stringify(log)).not.toContain(secret)
      const npm = { index_url: guarded.npmUrl, index_auth: { username: 'who', password: secret } }
      await install(['errand-left@1.0.0'], { executor: npm, runtime: 'node' })
      const wrong = {
        index_url: guarded.pythonUrl,
        index_auth: { username: 'who', password: 'not-this-one' },
      }
      const refused = await failing(install([another()], { executor: wrong }))
      expect(refused.message).not.toContain('not-this-one')
      expect(refused instanceof Rejected).toBe(tellsWhoseFault)
      await guarded.stop()
    })

    const folder = { index_url: undefined }
    test.runIf('a folder as an index' in exceptions)('a folder of this host is no index', async () => {
      const executor = { ...folder, index_dir: harness.indexDir }
      await expect(install([another()], { executor })).rejects.toThrow(Rejected)
    })

    test.skipIf('a folder as an index' in exceptions)('a folder of this host is an index too', async () => {
      const executor = { ...folder, index_dir: harness.indexDir }
      const dependencies = ['errand-alpha>=1']
      await install(dependencies, { executor })
      const { stdout } = await run('import errand_alpha; print(errand_alpha.told())', dependencies, {
        executor,
      })
      expect(stdout.toString()).toBe('alpha 1.1, beta 1.2\n')
    })

    test('what was not used for long goes when another comes, but never what is in use', async () => {
      let days = 0
      const clock = (): number => Date.now() + days * 24 * 3_600_000
      const other = await harness.open({ now: clock, policy: { disk: { ...disk, sets_max_age_days: 30 } } })
      const before = await harness.lying()
      const given = { backend: other.backend }
      const [used, unused, later] = [1, 2, 3].map(() => [another()]) as [string[], string[], string[]]
      await install(used, given)
      await install(unused, given)
      expect(await harness.lying()).toHaveLength(before.length + 2)
      let changed = 0
      const running = run('import errand_gamma, time; print(1, flush=True); time.sleep(60)', used, {
        ...given,
        watch: (_, text, stop) => {
          if (!text.includes('1') || changed++ > 0) return
          days = 31
          void install(later, given).finally(() => stop('canceled'))
        },
      })
      expect((await running).outcome).toBe('canceled')
      expect((await run('import errand_gamma', used, given)).outcome).toBe('succeeded')
      expect((await run('import errand_gamma', later, given)).outcome).toBe('succeeded')
      await expect(run('import errand_gamma', unused, given)).rejects.toThrow(Missing)
      expect(await harness.lying()).toHaveLength(before.length + 2)
      await harness.empty(other)
    })

    test('where there is no room nothing is fetched', async () => {
      const other = await harness.open({ policy: { disk: { ...disk, min_free_mb: 1e9 } } })
      const before = index.log.length
      const error = await failing(install([another()], { backend: other.backend }))
      expect(error).toBeInstanceOf(Rejected)
      expect(error.message).toContain('disk.min_free_mb')
      expect(index.log.length).toBe(before)
      await other.close()
    })

    const disk: AgentPolicy['disk'] = {
      images_mb: 20_480,
      sets_mb: 10_240,
      sets_max_age_days: 30,
      min_free_mb: 1,
    }
  })
}
