import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { closedFolders, interpreterOptions } from './sandbox.ts'

const dir = realpathSync(mkdtempSync(join(tmpdir(), 'errand-sandbox-')))
afterAll(() => rmSync(dir, { recursive: true }))

function tool(path: string): string {
  const file = join(dir, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, '')
  return file
}

/** What is shown of the host for a tool, by paths below `dir`. */
function shown(file: string, closed: string[] = []): string[] {
  const options = interpreterOptions(
    file,
    closed.map((path) => join(dir, path)),
  )
  return options.filter((word) => word.startsWith('/')).map((path) => path.slice(dir.length + 1))
}

describe('for an interpreter outside /usr a sandbox shows', () => {
  test('its installation', () => {
    expect(shown(tool('python/bin/python3'))).toEqual(['python', 'python'])
  })

  test('only its folder where the rest is a home, or holds one or the agent', () => {
    expect(shown(tool('u/bin/x'), ['u'])).toEqual(['u/bin', 'u/bin'])
    expect(shown(tool('srv/bin/x'), ['srv/agent'])).toEqual(['srv/bin', 'srv/bin'])
    expect(shown(tool('u/venv/bin/x'), ['u'])).toEqual(['u/venv', 'u/venv'])
  })

  test('only the file where its folder is a home', () => {
    expect(shown(tool('v/x'), ['v'])).toEqual(['v/x', 'v/x'])
  })

  test('no home under another name', () => {
    const real = tool('w/bin/x')
    symlinkSync(join(dir, 'w'), join(dir, 'alias'))
    const paths = shown(join(dir, 'alias/bin/x'), ['w'])
    expect(new Set(paths)).toEqual(new Set(['alias/bin', 'w/bin']))
    expect(real).toBe(join(dir, 'w/bin/x'))
  })
})

test("homes and the agent's directory are closed", () => {
  expect(closedFolders(dir)).toEqual(expect.arrayContaining([dir, realpathSync(homedir())]))
})
