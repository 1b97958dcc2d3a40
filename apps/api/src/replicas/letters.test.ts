import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { createLetters } from './letters.ts'

const write = (letters: ReturnType<typeof createLetters>, values: readonly unknown[]) =>
  letters.write(values.map((value) => JSON.stringify(value)))

it('gives back what was written, whatever it is, in notices that PostgreSQL takes', () => {
  const [sender, reader] = [createLetters('a'), createLetters('b')]
  const long = fc
    .tuple(fc.string({ unit: 'binary' }), fc.nat(3_000))
    .map(([text, times]) => text.repeat(times))
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.jsonValue(), long), { minLength: 1, maxLength: 5 }), (values) => {
      const notices = write(sender, values)
      for (const notice of notices) expect(new TextEncoder().encode(notice).length).toBeLessThan(8_000)
      // PostgreSQL sends those that are alike once.
      expect(new Set(notices).size).toBe(notices.length)
      const read = notices.map((notice) => reader.read(notice))
      expect(read.slice(0, -1).every((one) => one === undefined)).toBe(true)
      expect(read.at(-1)).toEqual(JSON.parse(JSON.stringify(values)))
    }),
    { numRuns: 20 },
  )
})

it('reads letters of several senders at once, none of its own, none whose beginning it has not heard, and nothing else', () => {
  const [one, two, reader] = [createLetters('a'), createLetters('b'), createLetters('c')]
  const text = 'x'.repeat(20_000)
  const [ofOne, ofTwo] = [write(one, [text, 1]), write(two, [text, 2])]
  const read = ofOne.flatMap((notice, n) => [reader.read(notice), reader.read(ofTwo[n]!)])
  expect(read.filter((values) => values !== undefined)).toEqual([
    [text, 1],
    [text, 2],
  ])
  expect(write(reader, [1]).map((notice) => reader.read(notice))).toEqual([undefined])
  const cut = write(one, [text]).slice(1)
  expect(cut.map((notice) => reader.read(notice))).toEqual(cut.map(() => undefined))
  for (const strange of ['', 'hello', 'a 1 0 1 {', 'a 1 0 1 {}', 'a 9 5 1 []'])
    expect(reader.read(strange)).toBeUndefined()
  expect(reader.read(write(two, ['still'])[0]!)).toEqual(['still'])
})
