import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Ledger } from './ledger.ts'
import { surplus } from './surplus.ts'

let dir: string
let now: number
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-ledger-'))
  now = 1_000
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const open = (changed?: () => void): Ledger<string> =>
  new Ledger<string>(join(dir, 'kept', 'ledger.json'), () => now, changed)
const keysOf = (ledger: Ledger<string>): string[] => ledger.entries().map(({ key }) => key)

describe('a ledger', () => {
  test('knows after a crash what was brought before it', () => {
    open().put('a', { bytes: 5, facts: 'first' })
    expect(open().get('a')).toEqual({ key: 'a', bytes: 5, lastUsedAt: 1_000, inUse: false, facts: 'first' })
  })

  test('lists what was used last first, and knows what is in use until its last use ends', () => {
    const ledger = open()
    ledger.put('a', { bytes: 1, facts: '' })
    now = 2_000
    ledger.put('b', { bytes: 1, facts: '' })
    expect(keysOf(ledger)).toEqual(['b', 'a'])
    now = 3_000
    const ends = [ledger.use('a'), ledger.use('a')]
    expect(keysOf(ledger)).toEqual(['a', 'b'])
    ends[0]!()
    ends[0]!()
    expect(ledger.get('a')!.inUse).toBe(true)
    now = 4_000
    ends[1]!()
    expect(ledger.get('a')).toMatchObject({ inUse: false, lastUsedAt: 4_000 })
  })

  test('is told what is used though it was not brought, and keeps nothing of it', () => {
    const ledger = open()
    ledger.use('somebody else’s')()
    expect(ledger.entries()).toEqual([])
  })

  test('keeps the time of a use within seconds', async () => {
    const told = Promise.withResolvers<void>()
    const ledger = open()
    ledger.put('a', { bytes: 1, facts: '' })
    const watched = open(() => told.resolve())
    now = 9_000
    watched.use('a')
    await told.promise
    expect(open().get('a')!.lastUsedAt).toBe(9_000)
  })

  test('keeps the time of a use when it is closed, and writes nothing afterwards', () => {
    const ledger = open()
    ledger.put('a', { bytes: 1, facts: '' })
    now = 9_000
    const end = ledger.use('a')
    ledger.close()
    expect(open().get('a')!.lastUsedAt).toBe(9_000)
    rmSync(join(dir, 'kept'), { recursive: true })
    vi.useFakeTimers()
    end()
    vi.advanceTimersByTime(5_000)
    vi.useRealTimers()
    expect(existsSync(join(dir, 'kept'))).toBe(false)
  })

  test('takes a file that it cannot read for none', () => {
    open().put('a', { bytes: 1, facts: '' })
    const path = join(dir, 'kept', 'ledger.json')
    writeFileSync(path, readFileSync(path, 'utf8').slice(0, 10))
    expect(open().entries()).toEqual([])
  })

  test('forgets', () => {
    const ledger = open()
    ledger.put('a', { bytes: 1, facts: '' })
    ledger.forget('a')
    expect(open().entries()).toEqual([])
  })
})

describe('surplus', () => {
  const entry = (key: string, bytes: number, lastUsedAt: number, inUse = false) => ({
    key,
    bytes,
    lastUsedAt,
    inUse,
    facts: '',
  })
  const room = { mostBytes: 100, maxAgeMs: 1_000, now: 2_000 }
  const going = (entries: ReturnType<typeof entry>[], sparing?: string) =>
    surplus(entries, room, sparing).map(({ key }) => key)

  test('is nothing while all fits', () => {
    expect(going([entry('a', 60, 1_900), entry('b', 40, 1_800)])).toEqual([])
  })

  test('begins with what was not used for longest, and ends where the rest fits', () => {
    expect(going([entry('a', 60, 1_900), entry('b', 40, 1_800), entry('c', 10, 1_700)])).toEqual(['c'])
    expect(going([entry('a', 90, 1_900), entry('b', 40, 1_800), entry('c', 10, 1_700)])).toEqual(['c', 'b'])
  })

  test('takes what is too old also where it fits', () => {
    expect(going([entry('a', 1, 1_900), entry('b', 1, 900)])).toEqual(['b'])
  })

  test('never takes what is in use or was just brought, even if the rest does not fit', () => {
    expect(going([entry('a', 500, 1_900), entry('b', 40, 900, true)], 'a')).toEqual([])
  })
})
