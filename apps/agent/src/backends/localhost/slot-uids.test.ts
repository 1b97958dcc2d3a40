import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { takeSlotUids } from './slot-uids.ts'

const dir = mkdtempSync(join(tmpdir(), 'errand-uids-'))
const locks = join(dir, 'locks')
afterEach(() => rmSync(dir, { recursive: true, force: true }))

describe('takeSlotUids', () => {
  test('gives no two agents the same', () => {
    const one = takeSlotUids(3, join(dir, 'one', 'uids.json'), locks)
    const two = takeSlotUids(2, join(dir, 'two', 'uids.json'), locks)
    expect(new Set([...one.uids, ...two.uids]).size).toBe(5)
    one.release()
    two.release()
  })

  test('gives an agent the ones it had before, all of them', () => {
    const other = takeSlotUids(2, join(dir, 'other', 'uids.json'), locks)
    const before = takeSlotUids(3, join(dir, 'one', 'uids.json'), locks)
    before.release()
    other.release()
    const after = takeSlotUids(1, join(dir, 'one', 'uids.json'), locks)
    expect(after.uids).toEqual(before.uids)
    after.release()
  })

  test('says how many there are when they do not suffice, and keeps none', () => {
    const state = join(dir, 'one', 'uids.json')
    expect(() => takeSlotUids(200, state, locks)).toThrow(/only 184 are free, 200 are needed/)
    const all = takeSlotUids(184, state, locks)
    all.release()
    expect(all.uids.length).toBe(184)
  })
})
