import { globSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const workspaces: Record<string, string> = {
  '@errand/shared': 'packages/shared',
  '@errand/host': 'packages/host',
  '@errand/box': 'packages/box',
  '@errand/drizzle': 'drizzle',
}

interface Row {
  part: string
  ours: string[]
  packages: string[]
}

const sources = globSync('{apps/*/src,packages/*/src,drizzle,infra}/**/*.ts', { cwd: root }).toSorted()
const rows = readTable(readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8'))

/** Tests and what serves only them. */
const isTest = (file: string): boolean => /\.test\.ts$|\/testing\/|\/test(ing)?-[^/]*\.ts$/.test(file)

describe('the import table', () => {
  it('covers every folder', () => {
    expect(sources.filter((file) => !isTest(file) && !rowOf(file))).toEqual([])
  })

  it('names only parts that are there', () => {
    const gone = (path: string): boolean => !sources.some((file) => isUnder(file, path))
    expect(rows.flatMap(({ part, ours }) => [part, ...ours]).filter(gone)).toEqual([])
  })

  it('holds for every import', () => {
    const broken = sources
      .filter((file) => !isTest(file))
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => !isAllowed(file, target))
          .map((target) => `${file} -> ${target}`),
      )
    expect(broken).toEqual([])
  })

  it('notices an import against the flow, a foreign package, and Node where it must not be', () => {
    expect(isAllowed('apps/api/src/store/claim.ts', 'apps/api/src/routes/executions.ts')).toBe(false)
    expect(isAllowed('apps/api/src/store/claim.ts', 'lodash')).toBe(false)
    expect(isAllowed('apps/api/src/store/claim.ts', 'node:fs')).toBe(false)
    expect(isAllowed('apps/agent/src/main.ts', 'drizzle/schema.ts')).toBe(false)
    expect(isAllowed('apps/api/src/node/postgres.ts', 'node:fs')).toBe(true)
  })
})

describe('what serves only tests', () => {
  it('is imported by tests alone', () => {
    const broken = sources.filter((file) => !isTest(file) && importsOf(file).some(isTest))
    expect(broken).toEqual([])
  })
})

describe('apps', () => {
  it('never import each other, in tests neither', () => {
    const app = (path: string): string | undefined => /^apps\/[^/]+/.exec(path)?.[0]
    const broken = sources.flatMap((file) =>
      importsOf(file)
        .filter((target) => app(file) && app(target) && app(file) !== app(target))
        .map((target) => `${file} -> ${target}`),
    )
    expect(broken).toEqual([])
  })

  it('know nothing of Node in apps/api outside node/ and main.ts', () => {
    const edge = sources.filter(
      (file) =>
        isUnder(file, 'apps/api/src') && !isTest(file) && !/^apps\/api\/src\/(node\/|main\.ts$)/.test(file),
    )
    const broken = edge.filter((file) =>
      /\b(Buffer|process|__dirname|setImmediate)\b/.test(withoutTexts(readSource(file))),
    )
    expect(broken).toEqual([])
  })
})

function readTable(markdown: string): Row[] {
  const table = /<!-- import table -->([\s\S]*)<!-- end of import table -->/.exec(markdown)?.[1] ?? ''
  return table
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [, part = '', ours = '', packages = ''] = line
        .split('|')
        .map((cell) => cell.replaceAll('`', '').trim())
      const words = (cell: string): string[] => cell.split(/\s+/).filter(Boolean)
      const app = /^apps\/[^/]+\/src/.exec(part)?.[0]
      const inFull = (word: string): string =>
        app && sources.some((file) => isUnder(file, `${app}/${word}`)) ? `${app}/${word}` : word
      return { part, ours: words(ours).map(inFull), packages: words(packages) }
    })
}

function rowOf(file: string): Row | undefined {
  return rows.filter(({ part }) => isUnder(file, part)).toSorted((a, b) => b.part.length - a.part.length)[0]
}

function isUnder(file: string, path: string): boolean {
  return file === path || file.startsWith(`${path}/`)
}

function isAllowed(file: string, target: string): boolean {
  const row = rowOf(file)
  if (!row) return false
  if (target.startsWith('node:')) return row.packages.includes('node:')
  if (sources.includes(target) || /^(apps|packages|drizzle|infra|test)\//.test(target))
    return (
      isUnder(target, 'packages/shared') ||
      rowOf(target) === row ||
      row.ours.some((part) => isUnder(target, part))
    )
  return row.packages.includes(target)
}

/** What a file imports, types too: paths of ours from the root, `node:` modules, names of packages. */
function importsOf(file: string): string[] {
  const found = readSource(file).matchAll(
    /^(?:import|export)\s(?:[^'"`;=()]*?\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm,
  )
  return [...found].flatMap(([, plain, dynamic]) => {
    const name = plain ?? dynamic ?? ''
    if (name.startsWith('.')) {
      const target = relative(root, resolve(root, dirname(file), name))
      return target.endsWith('.json') ? [] : [target]
    }
    if (builtinModules.includes(name)) return [`node:${name}`]
    if (name.startsWith('node:')) return [name]
    const bare = name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/')
    return [workspaces[bare] === undefined ? bare : `${workspaces[bare]}/${name.slice(bare.length + 1)}`]
  })
}

function readSource(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

function withoutTexts(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/gm, '')
}
