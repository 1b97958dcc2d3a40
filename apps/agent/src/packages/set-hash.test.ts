import { expect, it } from 'vitest'
import { setHash, type SetIdentity } from './set-hash.ts'

const set: SetIdentity = {
  runtime: 'python',
  runtimeId: 'python3.11.2',
  interpreter: '/usr/bin/python3',
  dependencies: ['a', 'b==1'],
  index: { kind: 'python', url: 'http://127.0.0.1/simple/' },
  allowInstallScripts: false,
}

it('differs with everything that a set depends on', () => {
  const others: Partial<SetIdentity>[] = [
    { runtime: 'node' },
    { runtimeId: 'python3.11.3' },
    { interpreter: '/opt/python' },
    { image: 'sha256:0' },
    { image: 'sha256:1' },
    { dependencies: ['a', 'b==2'] },
    { dependencies: ['a'] },
    { dependencies: ['a,b==1'] },
    { index: { kind: 'python', url: 'http://127.0.0.1/other/' } },
    { index: { kind: 'python', dir: 'http://127.0.0.1/simple/' } },
    { index: { ...set.index, auth: { username: 'u', password: 'p' } } },
    { index: { ...set.index, auth: { username: 'v', password: 'p' } } },
    { allowInstallScripts: true },
  ]
  const hashes = [{}, ...others].map((other) => setHash({ ...set, ...other }))
  expect(new Set(hashes).size).toBe(others.length + 1)
  expect(hashes.every((hash) => /^[0-9a-f]{64}$/.test(hash))).toBe(true)
})

it('tells nothing of a password', () => {
  const hashOf = (password: string) =>
    setHash({ ...set, index: { ...set.index, auth: { username: 'u', password } } })
  expect(hashOf('one')).toBe(hashOf('another'))
})
