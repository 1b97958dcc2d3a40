import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { describeSearch, findRuntime, searchPath } from './find-runtime.ts'
import { rememberRuntimes } from './remember-runtimes.ts'

const dir = mkdtempSync(join(tmpdir(), 'errand-runtimes-'))
afterAll(() => rmSync(dir, { recursive: true }))

function tool(name: string): string {
  const path = join(dir, name)
  writeFileSync(path, '#!/bin/sh\n')
  chmodSync(path, 0o755)
  return path
}

describe('findRuntime', () => {
  test('takes the first tool of the search path that tells its version', async () => {
    const asked: string[] = []
    const found = await findRuntime('python', async (path) => {
      asked.push(path)
      return asked.length === 1 ? undefined : 'Python 3.99.1 (main)'
    })
    expect(found).toMatchObject({ id: 'python3.99.1', version: '3.99.1', interpreter: asked[1] })
    expect(searchPath.some((folder) => asked[0] === `${folder}/python3`)).toBe(true)
  })

  test('finds nothing where no tool answers', async () => {
    expect(await findRuntime('python', async () => undefined)).toBeUndefined()
    expect(await findRuntime('python', async () => 'no version')).toBeUndefined()
  })

  test('uses a given interpreter alone, also one that tells no version', async () => {
    const path = tool('my-python')
    expect(await findRuntime('python', async () => 'hello', path)).toMatchObject({
      id: 'python',
      interpreter: path,
    })
    expect(await findRuntime('python', async () => undefined, path)).toBeUndefined()
  })

  test('prefers the launcher that lies beside the interpreter', async () => {
    const [interpreter, launcher] = [tool('javac'), tool('java')]
    expect(await findRuntime('java', async () => 'javac 99.0.1', interpreter)).toMatchObject({
      launcher,
      version: '99.0.1',
    })
  })

  test('says what was looked for and where', () => {
    expect(describeSearch('python')).toBe('python3 or python in /usr/local/bin, /usr/bin, /bin')
    expect(describeSearch('java')).toContain('javac with java')
    expect(describeSearch('python', '/opt/python')).toBe('/opt/python')
  })
})

describe('rememberRuntimes', () => {
  test('asks once, and again when the tool has changed', async () => {
    const path = tool('changing')
    let version = 1
    let asked = 0
    const lookup = rememberRuntimes(async () => {
      asked += 1
      return `Python 3.${version}.0`
    })
    const both = await Promise.all([lookup('python', path), lookup('python', path)])
    expect(both.map((found) => found?.id)).toEqual(['python3.1.0', 'python3.1.0'])
    expect(asked).toBe(1)
    version = 2
    writeFileSync(path, '#!/bin/sh\n# upgraded\n')
    expect((await lookup('python', path))?.id).toBe('python3.2.0')
    expect(asked).toBe(2)
  })

  test('asks again for what was not there', async () => {
    const path = tool('late')
    const answers = [undefined, 'Python 3.5.0']
    const lookup = rememberRuntimes(async () => answers.shift())
    expect(await lookup('python', path)).toBeUndefined()
    expect((await lookup('python', path))?.id).toBe('python3.5.0')
  })
})
