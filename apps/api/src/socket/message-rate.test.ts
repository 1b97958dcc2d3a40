import { expect, it } from 'vitest'
import { createMessageRate } from './message-rate.ts'

it('takes for hours what the largest hosts send, also all that waited during an outage, but no flood', () => {
  let now = 0
  const rate = createMessageRate(() => now)
  const refused = (count: number) => Array.from({ length: count }, () => rate.allows()).includes(false)
  for (let second = 0; second < 600; second++) {
    now += 1_000
    expect(refused(4_000)).toBe(false)
  }
  now += 60_000
  expect(refused(20_000)).toBe(false)
  const began = now
  while (!refused(1_000)) now += 100
  expect(now - began).toBeLessThan(10_000)
})
