import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { emptyResult } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Spool } from './spool.ts'

let dir: string
let spool: Spool
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-spool-'))
  spool = new Spool(dir, 'boot-1')
})
afterEach(() => {
  spool.close()
  rmSync(dir, { recursive: true, force: true })
})
const reopen = (bootId = 'boot-1') => {
  spool.close()
  spool = new Spool(dir, bootId)
}
const newClaim = (fence = 1) => ({ id: randomUUID(), fence })
const totals = { bytes: 0, stored: 0, truncated: false, sha256: '0'.repeat(64) }
const result = { ...emptyResult('host', { stdout: totals, stderr: totals }), outcome: 'succeeded' as const }

describe('Spool', () => {
  it('keeps what is held, its output and its result', () => {
    const [accepted, starting, ended] = [newClaim(), newClaim(), newClaim()]
    for (const claim of [accepted, starting, ended]) spool.accept(claim)
    spool.starting(starting, 1_234)
    spool.starting(ended, 5_678)
    spool.append(ended, 'stdout', 0, Buffer.from('abc'))
    spool.append(ended, 'stdout', 3, Buffer.from('defg'))
    spool.append(ended, 'stderr', 0, Buffer.from([0, 255]))
    spool.finish(ended, result)
    reopen()
    expect(new Set(spool.held())).toEqual(
      new Set([
        { ...accepted, state: 'accepted', startedAtMs: null, run: null, adoptions: 0 },
        { ...starting, state: 'starting', startedAtMs: 1_234, run: null, adoptions: 0 },
        { ...ended, state: 'ended', startedAtMs: 5_678, run: null, adoptions: 0 },
      ]),
    )
    expect(spool.ends(ended)).toEqual({ stdout: 7, stderr: 2 })
    expect(spool.ends(starting)).toEqual({ stdout: 0, stderr: 0 })
    expect(spool.result(ended)).toEqual(result)
    expect(spool.result(starting)).toBeUndefined()
  })

  it('reads on from any offset', () => {
    const claim = newClaim()
    spool.accept(claim)
    spool.append(claim, 'stdout', 0, Buffer.from('abc'))
    spool.append(claim, 'stdout', 3, Buffer.from('def'))
    const read = (offset: number) => Buffer.from(spool.read(claim, 'stdout', offset)).toString()
    expect([0, 1, 2, 3, 5, 6].map(read)).toEqual(['abc', 'bc', 'c', 'def', 'f', ''])
  })

  it('forgets all of a job but that it has seen its claim', () => {
    const claim = newClaim()
    spool.accept(claim)
    spool.append(claim, 'stdout', 0, Buffer.from('abc'))
    spool.finish(claim, result)
    spool.forget(claim)
    expect(spool.held()).toEqual([])
    expect(spool.ends(claim)).toEqual({ stdout: 0, stderr: 0 })
    reopen()
    expect(spool.hasSeen(claim)).toBe(true)
    expect(spool.hasSeen({ ...claim, fence: 2 })).toBe(false)
    expect(spool.hasSeen(newClaim())).toBe(false)
  })

  it('keeps no output or result of what is not held, once it is opened again', () => {
    const claim = newClaim()
    spool.append(claim, 'stdout', 0, Buffer.from('abc'))
    spool.finish(claim, result)
    reopen()
    expect(spool.ends(claim)).toEqual({ stdout: 0, stderr: 0 })
    expect(spool.result(claim)).toBeUndefined()
  })

  it('counts the agents that died of what they adopted, until one lives on', () => {
    const claim = newClaim()
    spool.accept(claim)
    spool.starting(claim, 1)
    for (const adoptions of [1, 2]) {
      spool.adopting(claim)
      reopen()
      expect(spool.held()).toMatchObject([{ adoptions }])
    }
    spool.adopted(claim)
    expect(spool.held()).toMatchObject([{ adoptions: 0 }])
  })

  it('takes over the file of an agent that knew nothing of adoption', () => {
    const { id } = spool
    const claim = newClaim()
    spool.accept(claim)
    spool.append(claim, 'stdout', 0, Buffer.from('abc'))
    spool.close()
    const old = new DatabaseSync(join(dir, 'spool.sqlite'))
    for (const column of ['run', 'adoptions']) old.exec(`ALTER TABLE held DROP COLUMN ${column}`)
    old.exec('PRAGMA user_version = 0')
    old.close()
    spool = new Spool(dir, 'boot-1')
    expect(spool.id).toBe(id)
    expect(spool.held()).toEqual([
      { ...claim, state: 'accepted', startedAtMs: null, run: null, adoptions: 0 },
    ])
    expect(spool.ends(claim)).toEqual({ stdout: 3, stderr: 0 })
  })

  it('has an id of its own that stays with the file', () => {
    const { id } = spool
    reopen()
    expect(spool.id).toBe(id)
    reopen('boot-2')
    expect(spool.id).toBe(id)
    spool.close()
    rmSync(join(dir, 'spool.sqlite'))
    spool = new Spool(dir, 'boot-2')
    expect(spool.id).not.toBe(id)
  })

  it('keeps the lease over a restart, not over a boot', () => {
    spool.keepLease(123.5)
    reopen()
    expect(spool.leaseSentAt).toBe(123.5)
    reopen('boot-2')
    expect(spool.leaseSentAt).toBeUndefined()
  })

  it('is made anew, with a new id, when a reboot left it damaged', () => {
    for (let count = 0; count < 100; count++) {
      const claim = newClaim()
      spool.accept(claim)
      spool.append(claim, 'stdout', 0, Buffer.alloc(4_096, count))
    }
    const { id } = spool
    spool.close()
    const path = join(dir, 'spool.sqlite')
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.fill(7, 4_096, 40_960))
    spool = new Spool(dir, 'boot-2')
    expect(spool.id).not.toBe(id)
    expect(spool.held()).toEqual([])
    spool.close()
    writeFileSync(path, 'not a database'.repeat(1_000))
    spool = new Spool(dir, 'boot-2')
    expect(spool.held()).toEqual([])
  })
})
