import { assert, constantFrom, oneof, property, string } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { safeLine } from './safe-line.ts'

describe('safeLine', () => {
  test.each([
    'password',
    'private_key',
    'privateKey',
    'passphrase',
    'token',
    'secret',
    'key',
    'authorization',
    'code',
    'stdin',
    'stdout',
    'stderr',
    'env',
    'content',
    'content_base64',
    'contentBase64',
    'files',
    'Authorization',
    'query',
    'parameters',
    'args',
    'detail',
    'ERRAND_ADMIN_KEY',
    'enrollment_token',
    'set-cookie',
  ])('withholds %s at any depth', (key) => {
    const value = {
      [key]: 'hunter2',
      a: { [key]: ['hunter2'], list: [{ b: { c: { [key]: { d: 'hunter2' } } } }] },
    }
    expect(safeLine(`${JSON.stringify(value)}\n`)).not.toContain('hunter2')
  })

  test('leaves a line without such keys as it is', () => {
    const line = '{"level":30,"exit_code":1,"keys":2,"stdout_bytes":3,"msg":"the \\"token\\":1 is \\u001b"}\n'
    expect(safeLine(line)).toBe(line)
  })

  test('keeps the rest of a line, absent secrets, and the code of an error', () => {
    const err = { type: 'Error', message: 'x', stack: 'Error: x', code: 'ENOENT' }
    const line = `${JSON.stringify({ level: 30, token: 't', key: null, list: [1, 'a', null], err })}\n`
    expect(safeLine(line)).toBe(line.replace('"t"', '"[withheld]"'))
  })

  test('lets no character through that drives or deceives a terminal, and changes no value', () => {
    const hostile = oneof(
      string({ unit: 'binary' }),
      string({ unit: constantFrom(...controls(), '\\', '"', 'u') }),
    )
    assert(
      property(hostile, hostile, (name, value) => {
        const record = { [`${name}.`]: value }
        const line = safeLine(`${JSON.stringify(record)}\n`)
        expect(controls().filter((character) => line.slice(0, -1).includes(character))).toEqual([])
        expect(JSON.parse(line)).toEqual(record)
      }),
    )
  })
})

function controls(): string[] {
  const ranges = [
    [0, 0x1f],
    [0x7f, 0x9f],
    [0x061c, 0x061c],
    [0x200e, 0x200f],
    [0x2028, 0x202e],
    [0x2066, 0x2069],
  ]
  return ranges.flatMap(([from = 0, to = 0]) =>
    Array.from({ length: to - from + 1 }, (_, index) => String.fromCharCode(from + index)),
  )
}
