import { describe, expect, it } from 'vitest'
import { ServerClock } from './server-clock.ts'

describe('ServerClock', () => {
  it('takes half the round trip as the way of the answer', () => {
    let now = 1_000
    const clock = new ServerClock(() => now)
    now = 1_100
    clock.measure(1_000, 500_000)
    expect(clock.at(1_050)).toBe(500_000)
    now = 2_050
    expect(clock.now()).toBe(501_000)
  })

  it('prefers the shortest round trip, until it is old', () => {
    let now = 1_000
    const clock = new ServerClock(() => now)
    clock.measure(998, 500_000)
    now = 3_000
    clock.measure(1_000, 600_000)
    expect(clock.at(999)).toBe(500_000)
    now = 400_000
    clock.measure(399_000, 900_000)
    expect(clock.at(399_500)).toBe(900_000)
  })
})
