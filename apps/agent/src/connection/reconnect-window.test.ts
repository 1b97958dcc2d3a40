import { describe, expect, it } from 'vitest'
import { timeConstants } from '@errand/shared'
import { ReconnectWindow } from './reconnect-window.ts'

describe('ReconnectWindow', () => {
  it('doubles from 1 s to 64 s, and begins anew after a reset', () => {
    const window = new ReconnectWindow(timeConstants, () => 1)
    const waits = Array.from({ length: 8 }, () => window.next() / 1_000)
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 64])
    window.reset()
    expect(window.next()).toBe(1_000)
  })

  it('is cut where there is something to lose, but not below the first, and doubles all the same', () => {
    const window = new ReconnectWindow(timeConstants, () => 1)
    const waits = [Infinity, 5_000, 5_000, 5_000, 100, Infinity].map((mostMs) => window.next(mostMs) / 1_000)
    expect(waits).toEqual([1, 2, 4, 5, 1, 32])
  })

  it('draws from the whole window', () => {
    const draws = [0, 0.25]
    const window = new ReconnectWindow(timeConstants, () => draws.shift()!)
    expect([window.next(), window.next()]).toEqual([0, 500])
  })
})
