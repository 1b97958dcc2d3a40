import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectoryLocked, lockDirectory } from './directory-lock.ts'

let root: string
let dir: string
let children: ChildProcessWithoutNullStreams[]

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'errand-lock-'))
  dir = join(root, 'data')
  children = []
})

afterEach(async () => {
  await Promise.all(children.map(kill))
  rmSync(root, { recursive: true })
})

describe('lockDirectory', () => {
  test('makes the directory for its user alone', () => {
    using lock = lockDirectory(dir)
    expect(lock.dir).toBe(dir)
    expect(statSync(dir).mode & 0o777).toBe(0o700)
  })

  test('refuses a directory that another process holds, and names that process', async () => {
    const holder = await startHolder()
    expect(() => lockDirectory(dir)).toThrow(`${dir} is in use by process ${holder.pid}`)
    expect(thrownBy(() => lockDirectory(dir))).toMatchObject({ dir, pid: holder.pid })
  })

  test('refuses a second lock in the same process', () => {
    using lock = lockDirectory(dir)
    expect(thrownBy(() => lockDirectory(lock.dir))).toMatchObject({ pid: process.pid })
  })

  test('is free again once released', async () => {
    lockDirectory(dir).release()
    const holder = await startHolder()
    expect(thrownBy(() => lockDirectory(dir))).toMatchObject({ pid: holder.pid })
  })

  test('is free as soon as its holder was SIGKILLed, even while a child of the holder lives', async () => {
    const sleeper = `const { spawn } = await import('node:child_process')
      console.log(spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).pid)`
    const holder = await startHolder(sleeper)
    const [line] = await once(holder.stdout, 'data')
    try {
      await kill(holder)
      using lock = lockDirectory(dir)
      expect(lock.dir).toBe(dir)
    } finally {
      process.kill(Number(line))
    }
  })

  test('is held though the caller dropped the lock object', async () => {
    await startHolder(`global.gc(); await new Promise(setImmediate); global.gc()`)
    expect(thrownBy(() => lockDirectory(dir))).toBeInstanceOf(DirectoryLocked)
  })

  test('goes to exactly one of many processes that start at once', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const child = startChild(
          `try { lockDirectory(${JSON.stringify(dir)}); console.log('locked') }
           catch (error) { console.log(error.name) }
           process.stdin.resume()`,
        )
        const [line] = await once(child.stdout, 'data')
        return String(line).trim()
      }),
    )
    expect(outcomes.toSorted()).toEqual([...Array.from({ length: 5 }, () => 'DirectoryLocked'), 'locked'])
  })

  test('is not refused for a reader, which is what a loser is for a moment', () => {
    lockDirectory(dir).release()
    using reader = new DatabaseSync(join(dir, 'lock'))
    reader.exec('BEGIN; SELECT * FROM sqlite_schema')
    using lock = lockDirectory(dir)
    expect(lock.dir).toBe(dir)
  })

  test('prints no warning', async () => {
    const child = startChild(`lockDirectory(${JSON.stringify(dir)})`)
    expect(await text(child.stderr)).toBe('')
    expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(0)
  })

  test('does not fail the exit of a process whose directory was deleted', async () => {
    const child = startChild(
      `lockDirectory(${JSON.stringify(dir)}); (await import('node:fs')).rmSync(${JSON.stringify(dir)}, { recursive: true })`,
    )
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(existsSync(dir)).toBe(false)
  })

  test('says which directory cannot be locked for another reason', () => {
    writeFileSync(join(root, 'file'), '')
    expect(() => lockDirectory(join(root, 'file'))).toThrow(join(root, 'file'))
    writeFileSync(
      join(root, 'lock'),
      'not a database, and long enough that SQLite reads a header from it'.repeat(20),
    )
    expect(() => lockDirectory(root)).toThrow(`cannot lock ${root}`)
  })
})

/** A process that holds the lock until it is killed; resolves once it does. */
async function startHolder(then = ''): Promise<ChildProcessWithoutNullStreams> {
  const child = startChild(
    `lockDirectory(${JSON.stringify(dir)}); process.stdin.resume(); ${then}; console.error('ready')`,
  )
  await once(child.stderr, 'data')
  return child
}

function startChild(code: string): ChildProcessWithoutNullStreams {
  const library = JSON.stringify(join(import.meta.dirname, 'directory-lock.ts'))
  const script = `import { lockDirectory } from ${library}\n${code}`
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script])
  children.push(child)
  return child
}

async function kill(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

function thrownBy(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}
