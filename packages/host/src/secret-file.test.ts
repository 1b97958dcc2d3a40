import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fromEnvironment, readOrCreateSecret } from './secret-file.ts'

let dir: string
let path: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-secret-'))
  path = join(dir, 'new', 'admin-key')
})

afterEach(() => rmSync(dir, { recursive: true }))

describe('readOrCreateSecret', () => {
  test('makes the secret once, for its user alone, and leaves nothing beside it', () => {
    expect(readOrCreateSecret(path, () => 'one')).toBe('one')
    expect(readOrCreateSecret(path, () => 'two')).toBe('one')
    expect(readFileSync(path, 'utf8')).toBe('one\n')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(dir, 'new')).mode & 0o777).toBe(0o700)
    expect(readdirSync(join(dir, 'new'))).toEqual(['admin-key'])
  })

  test('returns what another process made meanwhile', () => {
    expect(readOrCreateSecret(path, () => readOrCreateSecret(path, () => 'theirs') && 'ours')).toBe('theirs')
    expect(readdirSync(join(dir, 'new'))).toEqual(['admin-key'])
  })

  test('gives one secret to all processes that start at once', async () => {
    const library = JSON.stringify(join(import.meta.dirname, 'secret-file.ts'))
    const script = `import { readOrCreateSecret } from ${library}
      process.stdout.write(readOrCreateSecret(${JSON.stringify(path)}, () => crypto.randomUUID()))`
    const run = promisify(execFile)
    const runs = Array.from({ length: 6 }, () =>
      run(process.execPath, ['--input-type=module', '--eval', script]),
    )
    const secrets = (await Promise.all(runs)).map(({ stdout }) => stdout)
    expect(new Set(secrets)).toEqual(new Set([readFileSync(path, 'utf8').trim()]))
  })

  test.each([0o640, 0o604, 0o620, 0o666])('refuses a file of mode %o', (mode) => {
    readOrCreateSecret(path, () => 'one')
    chmodSync(path, mode)
    expect(() => readOrCreateSecret(path, () => 'two')).toThrow(`run chmod 600 ${path}`)
  })

  test('refuses an empty file', () => {
    readOrCreateSecret(path, () => 'one')
    writeFileSync(path, '\n')
    expect(() => readOrCreateSecret(path, () => 'two')).toThrow(`${path} is empty`)
  })

  test('names the path that cannot be read', () => {
    writeFileSync(join(dir, 'file'), '')
    const below = join(dir, 'file', 'admin-key')
    expect(() => readOrCreateSecret(below, () => 'one')).toThrow(`cannot read ${below} (ENOTDIR)`)
  })
})

describe('fromEnvironment', () => {
  test('is the value, or the content of the file without its final newline', () => {
    writeFileSync(join(dir, 'secret'), ' a\nb \n')
    expect(fromEnvironment('KEY', { KEY: 'value' })).toBe('value')
    expect(fromEnvironment('KEY', { KEY_FILE: join(dir, 'secret') })).toBe(' a\nb ')
  })

  test('is undefined where neither is set, or both are empty', () => {
    expect(fromEnvironment('KEY', {})).toBeUndefined()
    expect(fromEnvironment('KEY', { KEY: '', KEY_FILE: '' })).toBeUndefined()
  })

  test('refuses both at once, without quoting the secret', () => {
    const error = 'KEY and KEY_FILE are both set: set one of them'
    expect(() => fromEnvironment('KEY', { KEY: 'value', KEY_FILE: 'file' })).toThrow(new Error(error))
  })

  test('names the variable and the path of a file that is empty or cannot be read', () => {
    const missing = join(dir, 'missing')
    expect(() => fromEnvironment('KEY', { KEY_FILE: missing })).toThrow(
      `KEY_FILE: cannot read ${missing} (ENOENT)`,
    )
    expect(() => fromEnvironment('KEY', { KEY_FILE: dir })).toThrow(`KEY_FILE: cannot read ${dir} (EISDIR)`)
    writeFileSync(missing, '\n')
    expect(() => fromEnvironment('KEY', { KEY_FILE: missing })).toThrow(`KEY_FILE: ${missing} is empty`)
  })
})
