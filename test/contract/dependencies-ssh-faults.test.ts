import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { agentPolicy } from '@errand/shared'
import { startPackageIndex } from '../../infra/package-index.ts'
import type { PackageIndexServer } from '../../infra/package-index.ts'
import { startSshServer } from '../../infra/ssh-server.ts'
import type { SshServer } from '../../infra/ssh-server.ts'
import { Missing, Rejected } from '../../apps/agent/src/backends/backend.ts'
import { drive } from './drive.ts'
import { driveInstall } from './drive-install.ts'
import type { Installing } from './drive-install.ts'
import { serveHostile } from './hostile-package.ts'
import { openSsh } from './open-ssh.ts'
import type { OpenSsh } from './open-ssh.ts'
import { processesNaming } from './processes-with.ts'

describe('dependencies on an ssh target', { timeout: 120_000 }, () => {
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  let server: SshServer
  let index: PackageIndexServer
  let one: OpenSsh
  let other: OpenSsh
  let sets: string
  beforeAll(async () => {
    server = await startSshServer()
    index = await startPackageIndex({ dir: packages })
    one = await openSsh({ server, spoolId: 'one' })
    other = await openSsh({ server, spoolId: 'other' })
    sets = join(server.home, '.errand/sets')
  }, 60_000)
  afterEach(() => {
    index.fault = undefined
    const left = one.leftovers()
    if (left.length > 0) throw new Error(`left on the target: ${left.join(', ')}`)
  })
  afterAll(async () => {
    await one.close()
    await other.close()
    await server.stop()
    await index.stop()
    rmSync(packages, { recursive: true })
  })

  let number = 0
  const another = (): string => `errand-gamma>=0.0.${++number}`
  const settings = (opened: OpenSsh, runtime: 'python' | 'node' = 'python', more: object = {}) =>
    opened.settings({
      runtime,
      allow_dependencies: true,
      index_url: runtime === 'python' ? index.pythonUrl : index.npmUrl,
      ...more,
    })
  const install = (opened: OpenSsh, dependencies: string[], more: Partial<Installing> = {}) => {
    const { runtime = 'python' } = more
    const { backend } = opened
    return driveInstall({ backend, settings: settings(opened, runtime), runtime, dependencies, ...more })
  }
  const run = (opened: OpenSsh, code: string, dependencies: string[], more: object = {}) =>
    drive({
      backend: opened.backend,
      settings: settings(opened),
      submission: { code, dependencies },
      ...more,
    })
  const asked = (wanted: RegExp, fault: 'silent' | undefined): Promise<void> =>
    new Promise((resolve) => {
      index.fault = (path) => {
        if (!wanted.test(path)) return undefined
        resolve()
        return fault
      }
    })
  const attempts = (): string[] =>
    readdirSync(sets).flatMap((hash) =>
      readdirSync(join(sets, hash))
        .filter((name) => !/^(whole|used-.*)$/.test(name))
        .map((name) => join(sets, hash, name)),
    )

  test('two agents that install the same at once do so once', async () => {
    const dependencies = [another()]
    const before = index.fetched('errand_gamma')
    const first = install(one, dependencies)
    await asked(/simple/, undefined)
    const [, second] = await Promise.all([first, install(other, dependencies)])
    expect(second.log.map(({ message }) => message).join('\n')).toContain('another agent installs')
    expect(index.fetched('errand_gamma')).toBe(before + 1)
    for (const opened of [one, other])
      expect((await run(opened, 'import errand_gamma', dependencies)).outcome).toBe('succeeded')
  })

  test('what an agent left that has gone for good is in nobody’s way', async () => {
    const dependencies = [another()]
    const { result } = await install(one, dependencies)
    const set = join(sets, result.digest!)
    rmSync(set, { recursive: true })
    mkdirSync(join(set, 'lock'), { recursive: true })
    mkdirSync(join(set, 'elsewhere-1-2-3'))
    writeFileSync(join(set, 'lock/owner'), 'elsewhere-1-2-3\n')
    utimesSync(join(set, 'lock'), 0, Date.now() / 1_000 - 180)
    const { uid } = statSync(server.home)
    for (const path of ['', 'lock', 'lock/owner', 'elsewhere-1-2-3']) chownSync(join(set, path), uid, uid)
    await expect(run(other, '', dependencies)).rejects.toThrow(Missing)
    expect((await install(other, dependencies)).result.already_there).toBe(false)
    expect((await run(one, 'import errand_gamma', dependencies)).outcome).toBe('succeeded')
    expect(existsSync(join(set, 'elsewhere-1-2-3'))).toBe(true)
    utimesSync(join(set, 'elsewhere-1-2-3'), 0, Date.now() / 1_000 - 90_000)
    await other.backend.close()
    await run(other, '', [])
    expect(existsSync(join(set, 'elsewhere-1-2-3'))).toBe(false)
  })

  test('a set that another agent’s run needs is not removed', async () => {
    const dependencies = [another()]
    let days = 0
    const policy = agentPolicy.parse({ disk: { sets_max_age_days: 1 } })
    const now = (): number => Date.now() + days * 24 * 3_600_000
    const third = await openSsh({ server, spoolId: 'third', policy, now })
    const { result } = await install(third, dependencies)
    let installed = 0
    const running = run(
      one,
      'import errand_gamma, time; print(1, flush=True); time.sleep(60)',
      dependencies,
      {
        watch: (_: unknown, __: string, stop: (reason: 'canceled') => void) => {
          if (installed++ > 0) return
          days = 2
          void install(third, [another()]).finally(() => stop('canceled'))
        },
      },
    )
    expect((await running).outcome).toBe('canceled')
    expect((await run(one, 'import errand_gamma', dependencies)).outcome).toBe('succeeded')
    const uses = readdirSync(join(sets, result.digest!)).filter((name) => name.startsWith('used-'))
    expect(uses).toHaveLength(2)
    for (const use of uses) utimesSync(join(sets, result.digest!, use), 0, Date.now() / 1_000 - 3_600)
    await install(third, [another()])
    await expect(run(one, '', dependencies)).rejects.toThrow(Missing)
    await third.close()
  })

  test('an installation outlives its link', async () => {
    serveHostile(
      index,
      `import os, time
told = 'built'
open('/tmp/begun', 'w').close()
while not os.path.exists('/tmp/go'): time.sleep(0.05)`,
    )
    const given = { settings: settings(one, 'python', { allow_install_scripts: true }) }
    const installing = install(one, ['errand-hostile'], given)
    await expect.poll(() => existsSync(join(server.tmp, 'begun')), { timeout: 30_000 }).toBe(true)
    await server.kill()
    writeFileSync(join(server.tmp, 'go'), '')
    await server.start()
    expect((await installing).result.already_there).toBe(false)
    const ran = await run(one, 'import errand_hostile; print(errand_hostile.told)', ['errand-hostile'], given)
    expect(ran.stdout.toString()).toBe('built\n')
  })

  test('what a target left that lost its power goes at the next connect', async () => {
    const dependencies = [another()]
    const before = attempts()
    const silent = asked(/\.whl$/, 'silent')
    const installing = install(one, dependencies)
    const ended = installing.catch((error: Error) => error)
    await silent
    await server.crash()
    index.fault = undefined
    await server.start()
    expect(await ended).toBeInstanceOf(Error)
    await run(one, '', [])
    expect(attempts()).toEqual(before)
    await expect(run(one, '', dependencies)).rejects.toThrow(Missing)
  })

  test('an index’s credentials are in no command line, and gone afterwards', async () => {
    const auth = { username: 'who', password: 'h0rse-battery' }
    const guarded = await startPackageIndex({ dir: join(packages, 'guarded'), auth })
    const seen: string[] = []
    const looked = (path: string): undefined => {
      if (/whl|tgz/.test(path))
        seen.push(...processesNaming('errand-gamma'), ...processesNaming('errand-left'))
      return undefined
    }
    guarded.fault = looked
    for (const [runtime, url, dependency] of [
      ['python', guarded.pythonUrl, another()],
      ['node', guarded.npmUrl, 'errand-left@1.0.0'],
    ] as const) {
      const executor = settings(one, runtime, { index_url: url, index_auth: auth })
      await install(one, [dependency], { runtime, settings: executor })
    }
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.join('\n')).not.toMatch(/h0rse|d2hvOm/)
    expect(filesWith(join(server.home, '.errand'), 'h0rse-battery')).toEqual([])
    await guarded.stop()
  })

  test('where a shell does the box’s work there are packages too', async () => {
    const shell = await openSsh({
      server,
      spoolId: 'shell',
      choices: { findBox: () => Promise.resolve(undefined) },
    })
    const dependencies = [another()]
    await install(shell, dependencies)
    const driven = await run(shell, 'import errand_gamma; print(errand_gamma.told())', dependencies)
    expect(driven.stdout.toString()).toBe('gamma 0.1\n')
    await install(shell, ['errand-left@1.0.0'], { runtime: 'node' })
    const { stdout } = await drive({
      backend: shell.backend,
      settings: settings(shell, 'node'),
      submission: {
        runtime: 'node',
        code: `import('errand-left').then((one) => console.log(one.default))`,
        dependencies: ['errand-left@1.0.0'],
      },
    })
    expect(stdout.toString()).toBe('left 1.0.0, right 1.1.0\n')
    const secret = settings(shell, 'node', { index_auth: { username: 'who', password: 'x' } })
    const refused = install(shell, ['errand-left@1'], { runtime: 'node', settings: secret })
    await expect(refused).rejects.toThrow(Rejected)
    await shell.close()
  })
})

function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path, 'latin1').includes(text))
}
