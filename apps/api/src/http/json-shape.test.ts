import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkJsonShape } from './json-shape.ts'
import { Problem } from './problem.ts'

const check = (text: string) => checkJsonShape(new TextEncoder().encode(text))

describe('checkJsonShape', () => {
  it('takes 32 levels and refuses 33', () => {
    expect(() => check('['.repeat(32) + ']'.repeat(32))).not.toThrow()
    expect(() => check('['.repeat(33) + ']'.repeat(33))).toThrow(Problem)
    expect(() => check('{"a":'.repeat(33))).toThrow(Problem)
  })

  it('takes 20,000 values and refuses one more', () => {
    expect(() => check(`[${'1,'.repeat(19_999)}1]`)).not.toThrow()
    expect(() => check(`[${'1,'.repeat(20_000)}1]`)).toThrow(Problem)
  })

  it('counts nothing inside strings, whatever is escaped there', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const hostile = `${text}"\\"${'[{,'.repeat(40)}`
        expect(() => check(JSON.stringify([hostile, { [hostile]: hostile }]))).not.toThrow()
      }),
    )
  })

  it('refuses depth behind strings that end in backslashes', () => {
    expect(() => check(`["\\\\",${'['.repeat(40)}`)).toThrow(Problem)
    expect(() => check(`["\\\\\\"",${'['.repeat(40)}`)).toThrow(Problem)
  })

  it('comes to an end on a string that does not', () => {
    expect(() => check('["abc\\"')).not.toThrow()
    expect(() => check(`"${'\\"'.repeat(100_000)}`)).not.toThrow()
  })
})
