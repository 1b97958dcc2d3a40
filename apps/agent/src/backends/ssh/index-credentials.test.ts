import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Rejected } from '../backend.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import { credentialsFor } from './index-credentials.ts'

const setWith = (
  runtime: 'python' | 'node',
  password: string,
  url = 'https://index.test:8443/a',
): NeededSet => ({
  hash: '0',
  executor: 'remote',
  runtime,
  runtimeId: runtime,
  interpreter: `/usr/bin/${runtime}`,
  dependencies: [],
  index: { kind: runtime, url, auth: { username: 'who', password } },
  allowInstallScripts: false,
})

describe('credentials of an index over ssh', () => {
  test.each(['plain', `it's#$&%!`, '#begins', 'é€'])('Python reads %s as it is', (password) => {
    const { files, env } = credentialsFor(setWith('python', password), true)
    const dir = mkdtempSync(join(tmpdir(), 'errand-netrc-'))
    const [{ path, content }] = files as [{ path: string; content: string }]
    writeFileSync(join(dir, path), content)
    const code = `import netrc, os, json; print(json.dumps(netrc.netrc(os.environ['NETRC']).authenticators('index.test')[::2]))`
    const told = execFileSync('/usr/bin/python3', ['-c', code], { env: env(dir), encoding: 'utf8' })
    rmSync(dir, { recursive: true })
    expect(JSON.parse(told)).toEqual(['who', password])
  })

  test.each(['two words', 'quo"te', 'back\\slash', 'line\nbreak'])('%s is refused for pip', (password) => {
    expect(() => credentialsFor(setWith('python', password), false)).toThrow(Rejected)
  })

  test('npm gets them by its environment, for that registry alone, and nowhere else', () => {
    const { env, files, secrets } = credentialsFor(setWith('node', 'two words'), false)
    const basic = Buffer.from('who:two words').toString('base64')
    expect(env('/work')).toEqual({ 'npm_config_//index.test:8443/a/:_auth': basic })
    expect(files).toEqual([])
    expect(secrets).toEqual(['two words', 'two%20words', basic])
    expect(() => credentialsFor(setWith('node', 'x'), true)).toThrow(Rejected)
  })

  test('there are none where none are needed', () => {
    const { index, ...set } = setWith('python', 'x')
    const { env, files, secrets } = credentialsFor(
      { ...set, index: { kind: 'python', url: index.url! } },
      true,
    )
    expect([env('/work'), files, secrets]).toEqual([{}, [], []])
  })
})
