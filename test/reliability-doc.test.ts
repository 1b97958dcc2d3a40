import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

it('docs/reliability.md names for each case a test that names the case', () => {
  const [, table = ''] =
    /<!-- cases -->([\s\S]*)<!-- end of cases -->/.exec(read('docs/reliability.md')) ?? []
  const rows = [...table.matchAll(/^\| ([A-Z]+-\d+) .*\| `([^`]+)`/gm)].map(([, id = '', path = '']) => ({
    id,
    path,
  }))
  expect(rows.length).toBeGreaterThan(20)
  expect(rows.filter(({ id, path }) => !new RegExp(`\\b${id}\\b`).test(read(path)))).toEqual([])
})
