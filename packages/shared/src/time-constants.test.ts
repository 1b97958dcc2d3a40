import { expect, it } from 'vitest'
import { scaleTime, timeConstants } from './time-constants.ts'

it.each([1, 0.1])('keeps the relations that the promises rest on, at scale %d', (scale) => {
  const time = scaleTime(scale)
  // two renewals may fail, and the third still comes in time
  expect(time.renewEveryMs * 2).toBeLessThan(time.leaseMs)
  expect(time.beatEveryMs).toBeLessThan(time.beatGapMs)
  // an agent whose last reconnect just failed comes back, and renews, before its lease is called expired
  expect(time.standStillMs).toBeGreaterThan(time.reconnectMaxMs + time.renewEveryMs)
  // a promised outage of 60 s, the window and a start
  expect(time.lostAfterMs).toBeGreaterThan(60_000 * scale + time.reconnectMaxMs)
  // promise 6: an agent that dies is noticed within 45 s
  expect(time.leaseMs + 2 * time.beatEveryMs).toBeLessThanOrEqual(45_000 * scale)
})

it('scales all of them together', () => {
  const scaled = scaleTime(0.5)
  for (const [key, ms] of Object.entries(timeConstants))
    expect(scaled[key as keyof typeof scaled]).toBe(ms / 2)
})
