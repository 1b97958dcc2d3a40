import { array, assert, constantFrom, property } from 'fast-check'
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
