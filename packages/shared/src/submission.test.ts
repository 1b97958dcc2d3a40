import { describe, expect, it } from 'vitest'
import { problemDetails } from './problem.ts'
import { sizeLimits } from './size-limits.ts'
import { submission } from './submission.ts'

const refusals = (body: object) => {
  const parsed = submission.safeParse({ executor: 'e', ...body })
  return parsed.success ? [] : problemDetails(parsed.error).map((one) => one.pointer)
}
const file = (path: string) => ({ path, content: '' })

describe('a submission', () => {
  it('is whole with an executor and code; the rest has defaults', () => {
    expect(submission.parse({ executor: 'e', code: '' })).toEqual({
      executor: 'e',
      code: '',
      args: [],
      stdin: '',
      env: {},
      limits: {},
      priority: 0,
      labels: {},
      retry: { max_attempts: 1 },
      on_output_limit: 'kill',
    })
  })

  it('has exactly one of code and files, and files an entrypoint among them', () => {
    expect(refusals({})).toEqual(['/code'])
    expect(refusals({ code: '', files: [file('a')], entrypoint: 'a' })).toEqual(['/code', '/entrypoint'])
    expect(refusals({ code: '', entrypoint: 'a' })).toEqual(['/entrypoint'])
    expect(refusals({ files: [file('a')] })).toEqual(['/entrypoint'])
    expect(refusals({ files: [file('a')], entrypoint: 'b' })).toEqual(['/entrypoint'])
    expect(refusals({ files: [file('a')], entrypoint: 'a' })).toEqual([])
  })

  it.each([
    '',
    '.',
    '..',
    '../x',
    'a/../b',
    'a//b',
    'a/./b',
    '/abs',
    'a/',
    '-flag',
    'C:\\x',
    'C:x',
    'a\\b',
    'a\0b',
    'a\nb',
    '\u202eabc',
    '\ud800',
    'x'.repeat(256),
    'é'.repeat(128),
    `${'d/'.repeat(600)}x`,
  ])('refuses the path %j', (path) => {
    expect(refusals({ files: [file(path)], entrypoint: path })).toContain('/files/0/path')
  })

  it.each(['a.py', 'pkg/mod.py', 'a b.py', 'ünï/код 文.py', 'x'.repeat(255), '..a', 'a..b', '.hidden'])(
    'takes the path %j',
    (path) => {
      expect(refusals({ files: [file(path)], entrypoint: path })).toEqual([])
    },
  )

  it('refuses one path in two spellings, and a path below another that is a file', () => {
    expect(refusals({ files: [file('\u00e9'), file('e\u0301')], entrypoint: '\u00e9' })).toEqual([
      '/files/1/path',
    ])
    expect(refusals({ files: [file('a/b'), file('a')], entrypoint: 'a' })).toEqual(['/files/0/path'])
  })

  it('takes a file as text or as base64, not both and not neither', () => {
    const one = (given: object) => refusals({ files: [{ path: 'a', ...given }], entrypoint: 'a' })
    expect(one({ content_base64: 'AP8=' })).toEqual([])
    expect(one({})).toEqual(['/files/0/content'])
    expect(one({ content: '', content_base64: '' })).toEqual(['/files/0/content'])
    expect(one({ content_base64: 'no base64!' })).toEqual(['/files/0/content_base64'])
  })

  it.each([
    ['/timeout_sec', { timeout_sec: 0 }],
    ['/timeout_sec', { timeout_sec: -1 }],
    ['/timeout_sec', { timeout_sec: '10' }],
    ['/timeout_sec', { timeout_sec: Infinity }],
    ['/limits/pids_limit', { limits: { pids_limit: 1.5 } }],
    ['/limits/mem_limit_mb', { limits: { mem_limit_mb: 2 ** 53 + 1 } }],
    ['/limits/swap', { limits: { swap: 1 } }],
    ['/retry/max_attempts', { retry: { max_attempts: 11 } }],
    ['/args/0', { args: ['a\0b'] }],
    ['/args', { args: ['x'.repeat(131_071), ...Array.from({ length: 8 }, () => 'x'.repeat(131_071))] }],
    ['/env/A=B', { env: { 'A=B': '' } }],
    ['/env/A', { env: { A: '\0' } }],
    ['/labels/a', { labels: { a: 'x\u001b[2J' } }],
    ['/stdin', { stdin: '\udfff' }],
    ['/code', { code: '\ud800' }],
    ['/nonsense', { nonsense: 1 }],
  ])('refuses at %s', (pointer, body) => {
    expect(refusals({ code: '', ...body })).toContain(pointer)
  })

  it('takes NUL and any length in code and stdin, up to a body', () => {
    expect(refusals({ code: '\0'.repeat(1_000), stdin: 'x'.repeat(sizeLimits.socketInput) })).toEqual([])
  })
})
