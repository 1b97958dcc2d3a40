import { describe, expect, it } from 'vitest'
import { installSteps, proxiedIndexUrl, runWithSet } from './install-steps.ts'

const common = { dir: '/sets/1', dependencies: ['b', 'a'], allowInstallScripts: false }
const python = {
  ...common,
  runtime: 'python',
  interpreter: '/usr/bin/python3',
  indexUrl: 'https://h/simple/',
} as const
const node = { ...common, runtime: 'node', interpreter: '/usr/bin/node', indexUrl: 'https://h/' } as const

describe('the steps of an installation', () => {
  it('run pip or npm by the interpreter, with the packages after all options', () => {
    for (const [given, installer, place] of [
      [python, 'install.py', '/sets/1'],
      [node, 'install.mjs', '/sets/1/node_modules'],
    ] as const) {
      const { files, steps } = installSteps(given)
      expect(files.map(({ path }) => path)).toEqual([installer])
      const { argv = [] } = steps[0] ?? {}
      expect(argv.slice(0, 3)).toEqual([given.interpreter, installer, place])
      expect(argv.slice(-3)).toEqual(['--', 'a', 'b'])
      expect(argv).toContain(given.indexUrl)
    }
  })

  it('go through the socket of a proxy where there is one', () => {
    for (const [given, forwarder] of [
      [python, 'forward.py'],
      [node, 'forward.mjs'],
    ] as const) {
      const indexUrl = proxiedIndexUrl(given.runtime)
      const { files, steps } = installSteps({ ...given, indexUrl, socketPath: '/run/index.sock' })
      expect(files.map(({ path }) => path)).toContain(forwarder)
      const { argv = [] } = steps[0] ?? {}
      expect(argv.slice(0, 5)).toEqual([
        given.interpreter,
        forwarder,
        '/run/index.sock',
        '--',
        given.interpreter,
      ])
      expect(argv.filter((word) => word.includes('{port}'))).toEqual([indexUrl])
    }
  })

  it('let packages run nothing unless that is allowed', () => {
    const allowed = { allowInstallScripts: true }
    expect(installSteps(python).steps[0]?.argv.join(' ')).toContain('--only-binary :all:')
    expect(installSteps({ ...python, ...allowed }).steps[0]?.argv).not.toContain('--only-binary')
    expect(installSteps(node).steps[0]?.argv).toContain('--ignore-scripts')
    expect(installSteps({ ...node, ...allowed }).steps[0]?.argv).not.toContain('--ignore-scripts')
  })

  it('tell pip to take an index without TLS only where that is not this host', () => {
    const trusted = (indexUrl: string) => {
      const { argv = [] } = installSteps({ ...python, indexUrl }).steps[0] ?? {}
      return argv[argv.indexOf('--trusted-host') + 1]
    }
    expect(trusted('http://index.example:8080/simple/')).toBe('index.example:8080')
    for (const url of [proxiedIndexUrl('python'), 'https://h/'])
      expect(installSteps({ ...python, indexUrl: url }).steps[0]?.argv).not.toContain('--trusted-host')
  })

  it.each([['-r x'], ['--index-url=http://evil'], ['a @ http://evil']])('are none for %s', (dependency) => {
    expect(() => installSteps({ ...python, dependencies: [dependency] })).toThrow('must')
    expect(() => installSteps({ ...node, dependencies: [dependency] })).toThrow('must')
  })
})

describe('programs with a set', () => {
  it('run by the interpreter of the set, or with its folder above them', () => {
    expect(runWithSet(python)).toEqual({ interpreter: '/sets/1/bin/python', env: { VIRTUAL_ENV: '/sets/1' } })
    expect(runWithSet(node)).toEqual({ env: {}, nodeModules: '/sets/1/node_modules' })
    expect(runWithSet({ runtime: 'node', dir: '/node_modules' })).toEqual({
      env: {},
      nodeModules: '/node_modules',
    })
    expect(installSteps({ ...node, dir: '/node_modules' }).steps[0]?.argv[2]).toBe('/node_modules')
  })
})
