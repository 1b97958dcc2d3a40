import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RotatingFile } from './rotating-file.ts'
import type { RotatingFileOptions } from './rotating-file.ts'

let dir: string
let path: string
let reports: string[]
let now: number
let open: RotatingFile[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-rotate-'))
  path = join(dir, 'logs', 'main.log')
  reports = []
  now = Date.UTC(2026, 0, 31)
  open = []
})

afterEach(() => {
  open.forEach((file) => file.close())
  rmSync(dir, { recursive: true })
})

describe('RotatingFile', () => {
  test('writes at the end of the turn, to a file for its user alone', async () => {
    openFile().write('a\n')
    await new Promise(setImmediate)
    expect(readFileSync(path, 'utf8')).toBe('a\n')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(dir, 'logs')).mode & 0o777).toBe(0o700)
  })

  test('loses and splits no line, and keeps every file within the limit', () => {
    const lines = Array.from({ length: 500 }, (_, index) => `${index} ${'é'.repeat((index * 37) % 90)}\n`)
    const file = openFile({ maxBytes: 500 })
    lines.forEach((line, index) => {
      file.write(line)
      if (index % 7 === 0) file.flushSync()
    })
    file.close()

    const contents = files().map((name) => readFileSync(name, 'utf8'))
    expect(contents.length).toBeGreaterThan(50)
    expect(contents.join('')).toBe(lines.join(''))
    expect(contents.filter((content) => !content.endsWith('\n') || Buffer.byteLength(content) > 500)).toEqual(
      [],
    )
    expect(reports).toEqual([])
  })

  test('goes on with the file of an earlier process, and counts what is in it', () => {
    openFile({ maxBytes: 10 }).write('123456\n')
    open[0]!.close()
    const file = openFile({ maxBytes: 10 })
    file.write('ab\n')
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['123456\nab\n'])
    file.write('c\n')
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['123456\nab\n', 'c\n'])
  })

  test('ends the line that an earlier process left unfinished', () => {
    openFile().close()
    const first = openFile()
    first.write('{"a":')
    first.close()
    const second = openFile()
    second.write('{"b":1}\n')
    second.close()
    expect(readFileSync(path, 'utf8')).toBe('{"a":\n{"b":1}\n')
  })

  test('gives a line that is longer than the limit a file of its own', () => {
    const file = openFile({ maxBytes: 10 })
    const lines = ['a\n', `${'b'.repeat(50)}\n`, 'c\n']
    lines.forEach((line) => file.write(line))
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(lines)
  })

  test('keeps the newest put aside files', () => {
    const file = openFile({ maxBytes: 2, maxBackups: 2 })
    for (const line of ['a\n', 'b\n', 'c\n', 'd\n', 'e\n']) file.write(line)
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['c\n', 'd\n', 'e\n'])
  })

  test('deletes old files when it starts', () => {
    openFile({ maxBytes: 2 }).write('a\n')
    open[0]!.write('b\n')
    open[0]!.close()
    now += 1001
    const file = openFile({ maxBytes: 2, maxAgeMs: 1000 })
    file.write('c\n')
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['b\n', 'c\n'])
  })

  test('makes a deleted file anew within a second', () => {
    const file = openFile()
    file.write('a\n')
    file.flushSync()
    rmSync(join(dir, 'logs'), { recursive: true })
    now += 1000
    file.write('b\n')
    file.flushSync()
    expect(readFileSync(path, 'utf8')).toBe('b\n')
  })

  test('counts anew after the file was cut', () => {
    const file = openFile({ maxBytes: 10 })
    file.write('12345678\n')
    file.flushSync()
    writeFileSync(path, '')
    now += 1000
    file.write('abcdefgh\n')
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['abcdefgh\n'])
  })

  test('says once that it cannot write, tries on, and then writes all that waited', () => {
    writeFileSync(join(dir, 'logs'), 'in the way')
    const file = openFile()
    for (const line of ['a\n', 'b\n', 'c\n']) {
      file.write(line)
      file.flushSync()
    }
    expect(reports).toEqual([expect.stringContaining(`cannot write ${path}`)])
    rmSync(join(dir, 'logs'))
    file.flushSync()
    expect(readFileSync(path, 'utf8')).toBe('a\nb\nc\n')
    expect(reports.slice(1)).toEqual([`can write ${path} again`])
  })

  test('tries again by itself', async () => {
    writeFileSync(join(dir, 'logs'), 'in the way')
    const file = openFile()
    file.write('a\n')
    file.flushSync()
    rmSync(join(dir, 'logs'))
    await expect.poll(() => existsSync(path), { timeout: 5000 }).toBe(true)
  })

  test('holds a bounded number of lines for a disk that takes none, and notes how many it dropped', () => {
    writeFileSync(join(dir, 'logs'), 'in the way')
    const file = openFile()
    const line = `${'x'.repeat(1023)}\n`
    for (let count = 0; count < 3000; count += 1) file.write(line)
    rmSync(join(dir, 'logs'))
    file.flushSync()
    file.flushSync()
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
    const note = JSON.parse(lines.pop()!) as { msg: string }
    expect(lines.length).toBeLessThan(1100)
    expect(note.msg).toMatch(new RegExp(`^${3000 - lines.length} log lines were dropped`))
  })

  test('writes on where the full file cannot be put aside', () => {
    const file = openFile({ maxBytes: 4 })
    file.write('abc\n')
    file.flushSync()
    rmSync(path)
    file.write('d\n')
    file.write('e\n')
    file.flushSync()
    expect(reports).toEqual([expect.stringContaining(`cannot put aside ${path}`)])
    now += 1000
    file.write('fgh\n')
    file.write('i\n')
    file.flushSync()
    expect(files().map((name) => readFileSync(name, 'utf8'))).toEqual(['fgh\n', 'i\n'])
    expect(reports.slice(1)).toEqual([`can put aside ${path} again`])
  })

  test('does not put a device aside', () => {
    const file = openFile({ path: '/dev/null' })
    file.write('a\n')
    file.close()
    expect(reports).toEqual(['cannot write /dev/null: not a regular file', '/dev/null lacks the last lines'])
  })

  test('takes nothing after it was closed', () => {
    const file = openFile()
    file.write('a\n')
    file.close()
    file.write('b\n')
    file.flushSync()
    file.close()
    expect(readFileSync(path, 'utf8')).toBe('a\n')
  })

  test('finishes a line of which the disk took a part, once it takes the rest', async () => {
    // A limit on the size of files is a full disk that needs no disk: the kernel writes a part, then fails.
    const script = `import { RotatingFile } from ${JSON.stringify(join(import.meta.dirname, 'rotating-file.ts'))}
      const path = ${JSON.stringify(path)}
      const report = (text) => console.log(text)
      const file = new RotatingFile({ path, maxBytes: 1e9, maxBackups: 0, maxAgeMs: 0, report })
      for (let index = 0; index < 1000; index += 1) file.write(JSON.stringify({ index, text: 'x'.repeat(90) }) + '\\n')
      process.stdin.resume().on('end', () => file.close())`
    const limited = `ulimit -S -f 60; exec "$0" --input-type=module --eval "$1"`
    const child = spawn('sh', ['-c', limited, process.execPath, script])
    const exit = once(child, 'exit')
    try {
      const [report] = await once(child.stdout, 'data')
      expect(String(report)).toContain('cannot write')
      expect(readFileSync(path).at(-1)).not.toBe(0x0a)
      const lift = spawn('prlimit', ['--pid', String(child.pid), '--fsize=unlimited'])
      expect(await once(lift, 'exit')).toEqual([0, null])
      child.stdin.end()
      expect(await exit).toEqual([0, null])
    } finally {
      child.kill('SIGKILL')
    }
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
    const indexes = lines.map((line) => (JSON.parse(line) as { index: number }).index)
    expect(indexes).toEqual(Array.from({ length: 1000 }, (_, index) => index))
  })
})

function openFile(options: Partial<RotatingFileOptions> = {}): RotatingFile {
  const report = (text: string): unknown => reports.push(text)
  const file = new RotatingFile({
    path,
    maxBytes: 1e9,
    maxBackups: 0,
    maxAgeMs: 0,
    report,
    now: () => now,
    ...options,
  })
  open.push(file)
  return file
}

/** Oldest first. */
function files(): string[] {
  const logs = join(dir, 'logs')
  return readdirSync(logs)
    .toSorted()
    .map((name) => join(logs, name))
}
