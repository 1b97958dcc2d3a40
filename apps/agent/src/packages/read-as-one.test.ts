import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { array, constantFrom, oneof, sample, string, stringMatching, tuple } from 'fast-check'
import { dependencyFaults, normalDependencies } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { InstallingRuntime } from './install-steps.ts'
import { execute, interpreters, temporaryDirectory } from './testing-installation.ts'

/** What is accepted of many that come near to a dependency or to what could mislead, and no two the same. */
function accepted(runtime: InstallingRuntime): string[] {
  const version = stringMatching(
    /^(1!)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}(\.?(a|rc|post|dev)[0-9])?(\+[a-z0-9.]{1,8})?(\.\*)?$/,
  )
  const operator = constantFrom('==', '>=', '<', '!=', '~=', '===')
  const ending = constantFrom('', '.zip', '.whl', '.tar.gz', '.tgz', '+a.zip', '-1.tgz', '/b', ' -r x', ' #x')
  const marker = constantFrom(
    '',
    ';os_name=="posix"',
    ` ; python_version<'4' and (sys_platform != "x y" or extra=="a.b")`,
  )
  const name = stringMatching(/^(@[a-z0-9.-]{1,3}\/)?[A-Za-z0-9._-]{1,6}$/)
  const range = oneof(
    stringMatching(/^([~^<>=]{0,2} ?[0-9x*]{1,2}(\.[0-9x]){0,2}(-[a-z.0-9-]{1,5})?( (\|\|) )?){1,3}$/),
    stringMatching(/^[a-z0-9.:/#~-]{1,8}$/),
  )
  const shaped =
    runtime === 'python'
      ? tuple(
          name,
          constantFrom('', '[x]', ' [b.c, A-b]'),
          array(tuple(operator, version), { maxLength: 2 }),
          ending,
          marker,
        ).map(
          ([name, extras, specifiers, ending, marker]) =>
            name + extras + specifiers.map((pair) => pair.join('')).join(',') + ending + marker,
        )
      : tuple(name, constantFrom('', '@'), range, ending).map(
          ([name, at, range, ending]) => name + at + (at && range) + ending,
        )
  const all = sample(oneof(shaped, shaped, string({ maxLength: 6 })), 8_000)
  const good = all.filter((text) => dependencyFaults(runtime, [text]).length === 0)
  return [...new Set(good.map((text) => normalDependencies(runtime, [text])[0]!))]
}

/** Prints what is read otherwise than as a requirement for the package of this name, from the index. */
const readers = {
  python: `
import json, re, sys
from pip._internal.req.constructors import install_req_from_line
for text in json.load(open(sys.argv[1])):
    try:
        read = install_req_from_line(text)
        if read.link or read.editable or read.local_file_path: print(text, 'is', read.link)
        if re.sub('[-_.]+', '-', read.req.name).lower() != re.match('[a-z0-9-]+', text)[0]: print(text, 'is', read.req)
    except Exception as error: print(text, 'is refused:', error)
`,
  node: `
const { dirname, join } = require('path')
const fs = require('fs')
const npm = dirname(dirname(fs.realpathSync(join(dirname(process.execPath), 'npm'))))
const npa = require(join(npm, 'node_modules/npm-package-arg'))
for (const text of JSON.parse(fs.readFileSync(process.argv[2]))) {
  try {
    const { registry, type, name } = npa(text, '/tmp')
    if (!registry || !['version', 'range', 'tag'].includes(type)) console.log(text, 'is', type)
    if (!text.startsWith(name) || !['@', undefined].includes(text[name.length])) console.log(text, 'is', name)
  } catch (error) { console.log(text, 'is refused:', error.message) }
}
`,
} as const

describe.each(['python', 'node'] as const)('what is accepted for %s', (runtime) => {
  it('is read by its installer as one package of the index', async () => {
    const dir = temporaryDirectory()
    const texts = accepted(runtime)
    expect(texts.length).toBeGreaterThan(300)
    const script = join(dir, runtime === 'python' ? 'read.py' : 'read.cjs')
    writeFileSync(script, readers[runtime])
    writeFileSync(join(dir, 'texts.json'), JSON.stringify(texts))
    const { stdout, stderr } = await execute([interpreters[runtime], script, join(dir, 'texts.json')], dir)
    expect(stdout + stderr).toBe('')
  })
})
