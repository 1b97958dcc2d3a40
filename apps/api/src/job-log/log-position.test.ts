import { describe, expect, it } from 'vitest'
import {
  type LogPosition,
  beyond,
  claimSource,
  jobSource,
  offsetsOf,
  positionOfText,
  positionText,
} from './log-position.ts'

const id = '0190d6f0-0000-7000-8000-0123456789ab'

describe('a position in a log', () => {
  it('is the same after it was text', () => {
    const positions: LogPosition[] = [
      new Map(),
      beyond(new Map(), claimSource(1), { end: 0, told: 15 }),
      beyond(beyond(new Map(), claimSource(2 ** 52), { end: 2 ** 28 }), jobSource(id), { told: 3 }),
    ]
    for (const position of positions) {
      const text = positionText(position)
      expect(positionOfText(text)).toEqual(position)
      expect(encodeURIComponent(text)).toBe(text)
    }
  })

  it('goes on from line to line, and keeps what was told', () => {
    let position: LogPosition = new Map()
    const source = claimSource(7)
    for (const line of [{ told: 1 }, { end: 10 }, { told: 8 }, { end: 30 }])
      position = beyond(position, source, line)
    expect(position.get(source)).toEqual({ offset: 30, told: 9 })
    expect(offsetsOf(beyond(position, jobSource(id), { told: 1 }))).toEqual(new Map([[7, 30]]))
  })

  it.each([
    'x',
    'c1',
    'c1.2',
    'c1.2.3_',
    '_',
    'c1.2.33',
    'c-1.2.3',
    'C1.2.3',
    'j1.0.1',
    'c1.2.3 ',
    'c1.2.3\n',
  ])('is not %j', (text) => {
    expect(positionOfText(text)).toBeUndefined()
  })
})
