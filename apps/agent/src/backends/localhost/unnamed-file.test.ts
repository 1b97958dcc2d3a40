import { closeSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { unnamedFile } from './unnamed-file.ts'

const dir = mkdtempSync(join(tmpdir(), 'errand-unnamed-'))
afterAll(() => rmSync(dir, { recursive: true }))

test('an unnamed file is made also where an agent died before it could take the name away', () => {
  const path = join(dir, 'file-0')
  writeFileSync(path, 'left behind', { mode: 0o400 })
  const fd = unnamedFile(path, 'content', undefined)
  expect(readFileSync(fd, 'utf8')).toBe('content')
  expect(existsSync(path)).toBe(false)
  closeSync(fd)
})
