import { describe, expect, it } from 'vitest'
import { oneLine, shownLine } from './text.ts'

describe('shownLine', () => {
  it.each([
    ['plain, with ümlauts and 日本', 'plain, with ümlauts and 日本'],
    ['two\r\nlines\tand a tab', 'two lines and a tab'],
    ['\u001b[2J\u0007\u0000\u009b1m', '\uFFFD[2J\uFFFD\uFFFD\uFFFD1m'],
    ['\u202eleft\u2028to\u2069right', '\uFFFDleft\uFFFDto\uFFFDright'],
    ['half \ud800 a pair', 'half \uFFFD a pair'],
  ])('shows %j as %j', (text, shown) => {
    expect(shownLine(text, 100)).toBe(shown)
    expect(oneLine(100).safeParse(shown).success).toBe(true)
  })

  it('is no longer than it may be', () => {
    expect(shownLine('x'.repeat(100), 100)).toBe('x'.repeat(100))
    expect(shownLine('x'.repeat(101), 100)).toBe(`${'x'.repeat(99)}…`)
    expect(shownLine('😀'.repeat(100), 100).isWellFormed()).toBe(true)
  })
})
