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

  it('draws from the whole window', () => {
    const draws = [0, 0.25]
    const window = new ReconnectWindow(timeConstants, () => draws.shift()!)
    expect([window.next(), window.next()]).toEqual([0, 500])
  })
})
