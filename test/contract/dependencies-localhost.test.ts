import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { localhostExecutor } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPackageIndex } from '../../infra/package-index.ts'
import type { PackageIndexServer } from '../../infra/package-index.ts'
import { Rejected } from '../../apps/agent/src/backends/backend.ts'
import { placesOf } from '../../apps/agent/src/backends/localhost/places.ts'
import { dependenciesContract } from './dependencies.ts'
import type { DependencyHarness } from './dependencies.ts'
import { drive } from './drive.ts'
import { driveInstall } from './drive-install.ts'
import { tag } from './harness.ts'
import { serveHostile, serveHostileScript } from './hostile-package.ts'
import { openLocalhost } from './open-localhost.ts'
import type { OpenLocalhost } from './open-localhost.ts'
import { processesNaming } from './processes-with.ts'

const asRoot = process.getuid?.() === 0

dependenciesContract('localhost', async (): Promise<DependencyHarness> => {
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  const index = await startPackageIndex({ dir: packages })
  const agentDirs: string[] = []
  const places = () => agentDirs.map((dir) => placesOf(dir, asRoot))
  return {
    index,
    indexDir: packages,
    guardedIndex: (auth) => startPackageIndex({ dir: join(packages, 'guarded'), auth }),
    async open({ same = false, ...given } = {}) {
      const opened = await openLocalhost({ ...given, ...(same && { agentDir: agentDirs[0]! }), keep: true })
      if (!same) agentDirs.push(opened.agentDir)
      return opened
    },
    settings: (more) => localhostExecutor.parse({ index_url: urlOf(index, more.runtime), ...more }),
    dying: () => ({ backend: 'localhost', given: { agentDir: agentDirs[0], workDir: packages } }),
    lying: async () => places().flatMap(({ sets }) => pathsIn(sets)),
    remove: async (path) => rmSync(path, { recursive: true }),
    async empty(opened) {
      await opened.close()
      rmSync(places().at(-1)!.sets, { recursive: true })
    },
    leftovers: async () => [
      ...places().flatMap(({ work, ways }) => [...pathsIn(work), ...pathsIn(ways)]),
      ...places().flatMap(({ reachable }) => processesNaming(reachable)),
    ],
    async close() {
      await index.stop()
      for (const dir of [packages, ...agentDirs, ...places().map(({ reachable }) => reachable)])
        rmSync(dir, { recursive: true, force: true })
    },
  }
})

describe('dependencies on localhost', { timeout: 60_000 }, () => {
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  let index: PackageIndexServer
  let opened: OpenLocalhost
  beforeAll(async () => {
    index = await startPackageIndex({ dir: packages })
    opened = await openLocalhost()
  })
  afterAll(async () => {
    await opened.close()
    rmSync(placesOf(opened.agentDir, asRoot).reachable, { recursive: true, force: true })
    await index.stop()
    rmSync(packages, { recursive: true })
  })

  const settings = (runtime: 'python' | 'node', more: object = {}) =>
    localhostExecutor.parse({ runtime, allow_dependencies: true, index_url: urlOf(index, runtime), ...more })

  test('programs without a sandbox import what was installed in one, and cannot change it', async () => {
    const { backend } = opened
    const python = { backend, settings: settings('python', { sandbox: 'none' }) }
    const dependencies = ['errand-alpha']
    await driveInstall({ ...python, runtime: 'python', dependencies })
    const code = `import errand_alpha, os; print(errand_alpha.told(), os.access(errand_alpha.__file__, os.W_OK))`
    const ran = await drive({ ...python, submission: { code, dependencies } })
    expect(ran.stdout.toString()).toBe(`alpha 1.1, beta 1.2 ${asRoot ? 'False' : 'True'}\n`)

    const node = { backend, settings: settings('node', { sandbox: 'none' }) }
    const files = [
      {
        path: 'src/main.mjs',
        content: `import left from 'errand-left'; import own from 'own'; console.log(left, own)`,
      },
      { path: 'node_modules/own/index.js', content: `module.exports = require('errand-left').length` },
    ]
    const submission = {
      runtime: 'node',
      files,
      entrypoint: 'src/main.mjs',
      dependencies: ['errand-left'],
    } as const
    await driveInstall({ ...node, runtime: 'node', dependencies: ['errand-left'] })
    const { stdout, stderr } = await drive({
      ...node,
      submission: { ...submission, dependencies: ['errand-left'] },
    })
    expect(stderr.toString()).toBe('')
    expect(stdout.toString()).toBe('left 1.0.0, right 1.1.0 23\n')
  })

  test('where there is no sandbox only executors that want none get packages, and are told', async () => {
    const bare = await openLocalhost({ bwrap: '/nowhere/bwrap' })
    const given = { backend: bare.backend, runtime: 'python', dependencies: ['errand-gamma'] } as const
    const installing = (sandbox: string) =>
      driveInstall({ ...given, dependencies: ['errand-gamma'], settings: settings('python', { sandbox }) })
    await expect(installing('required')).rejects.toThrow(Rejected)
    const { log } = await installing('none')
    expect(log).toContainEqual({ level: 'warn', message: expect.stringContaining('without a sandbox') })
    const submission = {
      code: 'import errand_gamma; print(errand_gamma.told())',
      dependencies: ['errand-gamma'],
    }
    const ran = await drive({ ...given, settings: settings('python', { sandbox: 'none' }), submission })
    expect(ran.stdout.toString()).toBe('gamma 0.1\n')
    await bare.close()
    rmSync(placesOf(bare.agentDir, asRoot).reachable, { recursive: true, force: true })
  })

  test.runIf(asRoot)(
    'it is installed by a user that is nobody else’s, and belongs to root then',
    async () => {
      const { backend } = opened
      const { sets, ways } = placesOf(opened.agentDir, asRoot)
      let installer: number | undefined
      let way: { uid: number; gid: number; mode: number } | undefined
      index.fault = (path) => {
        const running = processesNaming('install.py')
          .map((one) => Number(one.split(':')[0]))
          .find((pid) => processesNaming(sets).some((one) => one.startsWith(`${pid}:`)))
        if (path.endsWith('.whl') && running !== undefined) {
          installer = uidOf(running)
          way = statSync(join(ways, '1'))
        }
        return undefined
      }
      const dependencies = ['errand-gamma>=0.0.1']
      await driveInstall({ backend, settings: settings('python'), runtime: 'python', dependencies, slot: 1 })
      index.fault = undefined
      const value = crypto.randomUUID()
      const runners = await Promise.all(
        [0, 1].map(async (slot) => {
          let uid: number | undefined
          const submission = { code: 'print(1, flush=True)\nwhile True: pass', env: { [tag.name]: value } }
          const watch = (_: unknown, __: string, stop: (reason: 'canceled') => void): void => {
            uid ??= uidOf(processTagged(value))
            stop('canceled')
          }
          await drive({ backend, settings: settings('python'), submission, slot, watch })
          return uid
        }),
      )
      expect(installer).toBeGreaterThan(60_000)
      expect(runners).not.toContain(installer)
      expect([way!.uid, way!.gid, way!.mode & 0o777]).toEqual([0, installer, 0o710])
      const files = readdirSync(sets, { recursive: true, encoding: 'utf8' }).map((path) => join(sets, path))
      const own = files.filter((path) => existsSync(path)).map((path) => statSync(path))
      expect(own.length).toBeGreaterThan(10)
      expect(own.filter(({ uid, mode }) => uid !== 0 || (mode & 0o6022) !== 0)).toEqual([])
    },
  )

  test.runIf(asRoot)('a package leaves nothing by which it could be changed later', async () => {
    const { sets } = placesOf(opened.agentDir, asRoot)
    serveHostile(
      index,
      `import os
told = '${sets}'
place = told + '/' + os.listdir(told)[0]
if not os.path.exists(place + '/open'):
    open(place + '/open', 'w').close(); os.chmod(place + '/open', 0o6777)
    os.mkdir(place + '/closed'); os.chmod(place + '/closed', 0)
    os.symlink('/etc/hostname', place + '/link')`,
    )
    const hostname = statSync('/etc/hostname')
    const executor = settings('python', { allow_install_scripts: true })
    const before = readdirSync(sets)
    const { backend } = opened
    await driveInstall({ backend, settings: executor, runtime: 'python', dependencies: ['errand-hostile'] })
    index.fault = undefined
    const set = readdirSync(sets).find((name) => !before.includes(name))
    expect(statSync(join(sets, set!, 'open'))).toMatchObject({ uid: 0, mode: 0o100755 })
    expect(statSync(join(sets, set!, 'closed'))).toMatchObject({ uid: 0, mode: 0o40555 })
    const { mode, uid, ctimeMs } = hostname
    expect(statSync('/etc/hostname')).toMatchObject({ mode, uid, ctimeMs })
  })

  test('a package has the agent write nowhere else', async () => {
    const { sets } = placesOf(opened.agentDir, asRoot)
    const target = join(packages, 'target')
    writeFileSync(target, 'as it was')
    serveHostileScript(
      index,
      `require('fs').symlinkSync(${JSON.stringify(target)}, process.cwd().replace(/node_modules.*/, '') + 'link-node-modules.cjs')`,
    )
    const executor = settings('node', { allow_install_scripts: true })
    const before = readdirSync(sets)
    const installing = driveInstall({
      backend: opened.backend,
      settings: executor,
      runtime: 'node',
      dependencies: ['errand-hostile'],
    })
    await expect(installing).rejects.toThrow('EEXIST')
    index.fault = undefined
    expect(readFileSync(target, 'utf8')).toBe('as it was')
    expect(readdirSync(sets)).toEqual(before)
  })

  test('a package cannot have programs shown another folder of the host', async () => {
    const secret = join(packages, 'secret')
    writeFileSync(secret, 'of the host', { mode: 0o644 })
    chmodSync(packages, 0o755)
    // What it leaves running waits until npm is done.
    const swap = `while [ -e .installing ]; do :; done; cd ..; mv node_modules moved; ln -s ${packages} node_modules`
    serveHostileScript(
      index,
      `require('child_process').spawn('sh', ['-c', ${JSON.stringify(swap)}], {
        cwd: require('path').resolve('../../../..'), detached: true, stdio: 'ignore' }).unref()`,
    )
    const node = { backend: opened.backend, settings: settings('node', { allow_install_scripts: true }) }
    const dependencies = ['errand-hostile@1.0.0']
    await driveInstall({ ...node, runtime: 'node', dependencies })
    index.fault = undefined
    const code = `console.log(require('fs').existsSync('/node_modules/secret'))`
    const ran = await drive({ ...node, submission: { runtime: 'node', code, dependencies } })
    expect(ran.stdout.toString()).toBe('false\n')
  })
})

function urlOf(index: PackageIndexServer, runtime: 'python' | 'node'): string {
  return runtime === 'python' ? index.pythonUrl : index.npmUrl
}

function pathsIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
}

function uidOf(pid: number): number {
  return Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1])
}

function processTagged(value: string): number {
  return readdirSync('/proc')
    .map(Number)
    .filter(Number.isInteger)
    .find((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${tag.name}=${value}`)
      } catch {
        return false
      }
    })!
}
