import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { backupPath, pruneBackups } from './backups.ts'

const day = 24 * 60 * 60 * 1000
const now = Date.UTC(2026, 0, 31, 8)

let dir: string
let path: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-backups-'))
  path = join(dir, 'main.log')
})

afterEach(() => rmSync(dir, { recursive: true }))

describe('backupPath', () => {
  test('carries the time, and is newer than the others even when the clock went back', () => {
    writeFileSync(backupPath(path, now), '')
    writeFileSync(backupPath(path, now - day), '')
    expect(readdirSync(dir)).toEqual(['main-2026-01-31T08-00-00.000.log', 'main-2026-01-31T08-00-00.001.log'])
  })
})

describe('pruneBackups', () => {
  const ages = (): number[] => [0, 1, 2, 3, 4].filter((age) => readdirSync(dir).includes(backupName(age)))

  beforeEach(() => [0, 1, 2, 3, 4].forEach((age) => writeFileSync(join(dir, backupName(age)), '')))

  test('keeps the newest so many', () => {
    pruneBackups(path, 2, 0, now)
    expect(ages()).toEqual([0, 1])
  })

  test('keeps none that is too old', () => {
    pruneBackups(path, 0, 3 * day, now)
    expect(ages()).toEqual([0, 1, 2, 3])
  })

  test('deletes by either rule', () => {
    pruneBackups(path, 4, 1.5 * day, now)
    expect(ages()).toEqual([0, 1])
  })

  test('keeps all without a rule', () => {
    pruneBackups(path, 0, 0, now)
    expect(ages()).toEqual([0, 1, 2, 3, 4])
  })

  test('leaves every other file alone', () => {
    const others = [
      'main.log',
      'main-notes.log',
      'job-2020-01-01T00-00-00.000.log',
      'main-2020-01-01T00-00-00.000.txt',
    ]
    others.forEach((name) => writeFileSync(join(dir, name), ''))
    pruneBackups(path, 1, 1, now + 1000 * day)
    expect(readdirSync(dir).toSorted()).toEqual(others.toSorted())
  })
})

function backupName(ageDays: number): string {
  return `main-${new Date(now - ageDays * day).toISOString().replaceAll(':', '-').replace('Z', '')}.log`
}
