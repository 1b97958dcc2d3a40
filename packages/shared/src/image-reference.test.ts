import { array, assert, constantFrom, option, property, record, stringMatching } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fullImageName, parseImageReference } from './image-reference.ts'

const sha = `sha256:${'0123456789abcdef'.repeat(4)}`

describe('fullImageName', () => {
  it.each([
    ['python', 'docker.io/library/python:latest'],
    ['python:3.11', 'docker.io/library/python:3.11'],
    ['library/python:3.11', 'docker.io/library/python:3.11'],
    ['docker.io/python:3.11', 'docker.io/library/python:3.11'],
    ['docker.io/library/python:3.11', 'docker.io/library/python:3.11'],
    ['index.docker.io/library/python:3.11', 'docker.io/library/python:3.11'],
    ['errand/typescript', 'docker.io/errand/typescript:latest'],
    ['a/b/c', 'docker.io/a/b/c:latest'],
    ['localhost/a', 'localhost/a:latest'],
    ['localhost:5000/a:1', 'localhost:5000/a:1'],
    ['127.0.0.1:5000/a/b', '127.0.0.1:5000/a/b:latest'],
    ['[::1]:5000/a', '[::1]:5000/a:latest'],
    ['Registry/a', 'Registry/a:latest'],
    ['registry.example.org/team/a__b.c-d--e:V1_.-', 'registry.example.org/team/a__b.c-d--e:V1_.-'],
    [`python@${sha}`, `docker.io/library/python@${sha}`],
    [`python:3.11@${sha}`, `docker.io/library/python:3.11@${sha}`],
    ['host:5000', 'docker.io/library/host:5000'],
  ])('%s is %s', (text, full) => {
    expect(fullImageName(text)).toBe(full)
    expect(fullImageName(full)).toBe(full)
  })

  it.each([
    '',
    ' ',
    'Python',
    'py thon',
    'python:',
    ':3.11',
    'python:3.11:4',
    'python@sha256:abc',
    `python@sha256:${'0'.repeat(65)}`,
    `python@${sha.toUpperCase()}`,
    `python@md5:${'0'.repeat(32)}`,
    '-a',
    'a-',
    'a//b',
    '/a',
    'a/',
    '../a',
    'a/../b',
    'a/./b',
    'a..b',
    'a___b',
    'localhost:port/a',
    '-host.org/a',
    'a\n',
    'é',
    'a?b=c',
    'a#b',
    'a%2fb',
    'http://a/b',
    `a:${'x'.repeat(129)}`,
    'a'.repeat(256),
    sha.slice(7),
  ])('%j is none', (text) => {
    expect(parseImageReference(text)).toBeUndefined()
  })

  it('is all that the grammar of distribution/reference makes, taken apart', () => {
    const component = '[a-z0-9]{1,3}(([._]|__|-{1,3})[a-z0-9]{1,3}){0,2}'
    const label = '[A-Za-z0-9]([A-Za-z0-9-]{0,4}[A-Za-z0-9])?'
    const domain = stringMatching(
      new RegExp(`^((${label}\\.){1,2}${label}|localhost|\\[[0-9a-fA-F:]{2,9}\\]:1|${label}:[0-9]{1,5})$`),
    )
    const path = stringMatching(new RegExp(`^${component}(/${component}){0,2}$`))
    const tag = option(stringMatching(/^\w[\w.-]{0,127}$/), { nil: undefined })
    const digest = option(stringMatching(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/), { nil: undefined })
    assert(
      property(record({ domain, path, tag, digest }), (given) => {
        const { tag: asked, digest: exact } = given
        const text = `${given.domain}/${given.path}${asked === undefined ? '' : `:${asked}`}${exact === undefined ? '' : `@${exact}`}`
        expect(parseImageReference(text)).toEqual({
          ...given,
          tag: asked ?? (exact === undefined ? 'latest' : undefined),
        })
      }),
    )
  })

  it('is always safe in the path of an address, and stays what it is', () => {
    const pieces = constantFrom(
      'a',
      'B',
      '0',
      '.',
      '_',
      '-',
      ':',
      '/',
      '@',
      '..',
      sha,
      'localhost',
      '[::1]',
      '?',
      '%',
    )
    assert(
      property(array(pieces, { maxLength: 12 }), (all) => {
        const full = fullImageName(all.join(''))
        if (full === undefined) return
        expect(full).toMatch(/^[\w./:@[\]+-]+$/)
        expect(full.split('/')).not.toContain('..')
        expect(fullImageName(full)).toBe(full)
      }),
    )
  })
})
