import { runtimes } from '@errand/shared'
import type { RuntimeName } from '@errand/shared'
import { describe, expect, test } from 'vitest'
import { expandCommand } from './expand-command.ts'

const expand = (
  name: RuntimeName,
  step: 'compile' | 'run',
  entrypoint: string,
  files: Record<string, string>,
  args: string[] = [],
) =>
  expandCommand(step === 'compile' ? runtimes[name].compile!.command : runtimes[name].run, runtimes[name], {
    interpreter: '/usr/bin/tool',
    launcher: '/usr/bin/launcher',
    program: { entrypoint, files: Object.entries(files).map(([path, content]) => ({ path, content })) },
    args,
  })

describe('expandCommand', () => {
  test('keeps each argument one word, whatever is in it', () => {
    const args = ['a b', '', '{args}', '{interpreter}', '$(id)', '-x']
    expect(expand('python', 'run', 'main.py', { 'main.py': '' }, args)).toEqual([
      '/usr/bin/tool',
      'main.py',
      ...args,
    ])
  })

  test('gives a compiler every source, and only sources', () => {
    const files = { 'main.c': '', 'lib/a.c': '', 'lib/a.h': '', 'data.txt': '' }
    const words = expand('c', 'compile', 'main.c', files)
    expect(words.filter((word) => /\.[a-z]+$/.test(word) && word !== 'a.out')).toEqual(['main.c', 'lib/a.c'])
  })

  test('keeps compilers from taking a name for an option', () => {
    expect(expand('c', 'compile', '@main.c', { '@main.c': '' })).toContain('./@main.c')
    expect(expand('lua', 'run', '+x.lua', { '+x.lua': '' })).toContain('./+x.lua')
  })

  test.each([
    ['main.ts', 'main.js'],
    ['src/app.v1.mts', 'src/app.v1.mjs'],
    ['a.cts', 'a.cjs'],
  ])('starts what TypeScript made of %s', (source, emitted) => {
    expect(expand('typescript', 'run', source, { [source]: '' })).toEqual(['/usr/bin/launcher', emitted])
  })

  test.each([
    ['Main.java', 'public class Main {}', 'Main'],
    ['src/a/b/Main.java', 'package a.b;\npublic class Main {}', 'a.b.Main'],
    ['Main.java', '/* package no; */ // package no;\n@Deprecated package a . b ;', 'a.b.Main'],
    ['Main.java', 'class Main { String s = "package x;"; }', 'Main'],
  ])('finds the class of %s', (path, content, className) => {
    expect(expand('java', 'run', path, { [path]: content }).at(-1)).toBe(className)
  })

  test.each([
    ['main.go', './.'],
    ['cmd/tool/main.go', './cmd/tool'],
  ])('builds the folder of %s', (path, folder) => {
    expect(expand('go', 'compile', path, { [path]: '' }).at(-1)).toBe(folder)
  })

  test('knows every word in braces that runtimes use', () => {
    const words = Object.values(runtimes).flatMap(({ run, compile }) => [...run, ...(compile?.command ?? [])])
    const left = Object.keys(runtimes).flatMap((name) =>
      expand(name as RuntimeName, 'run', 'main.x', { 'main.x': '' }),
    )
    expect(words.some((word) => word.startsWith('{'))).toBe(true)
    expect(left.filter((word) => word.startsWith('{'))).toEqual([])
  })
})
