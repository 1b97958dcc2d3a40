import { expect, it } from 'vitest'
import { Rejected } from '../backend.ts'
import { containerUser } from './container-user.ts'

it('is another for each slot, and never one of localhost', () => {
  const uids = Array.from({ length: 400 }, (_, slot) => containerUser(undefined, slot).uid)
  expect(new Set(uids).size).toBe(400)
  expect(Math.max(...uids)).toBeLessThan(61_000)
})

it.each([
  ['1000', { uid: 1000, gid: 1000 }],
  ['1000:100', { uid: 1000, gid: 100 }],
])("is the executor's where it says %s", (user, expected) => {
  expect(containerUser(user, 3)).toEqual(expected)
})

it.each(['4294967295', '1000:4294967295', '2147483647', '4294967296'])(
  'is no id beyond all, as in %s',
  (user) => {
    expect(() => containerUser(user, 0)).toThrow(Rejected)
  },
)

it.each(['0', '0:1000', '1000:0', '00'])('is never root, as in %s', (user) => {
  expect(() => containerUser(user, 0)).toThrow(Rejected)
})
