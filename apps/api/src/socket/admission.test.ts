import { timeConstants as time } from '@errand/shared'
import { expect, it } from 'vitest'
import { createAdmission } from './admission.ts'

it('lets in a few at once and then no more than its rate, whoever comes again and again (NET-09)', () => {
  let now = 0
  const admission = createAdmission(time, { now: () => now, random: Math.random })
  /** Of a thousand agents, when the next attempt of each is. */
  const attempts = Array.from({ length: 1_000 }, () => 0)
  const inAt: number[] = []
  while (attempts.length > 0) {
    attempts.sort((a, b) => b - a)
    now = attempts.pop()!
    const waitMs = admission.admit()
    if (waitMs === undefined) inAt.push(now)
    else attempts.push(now + waitMs)
  }
  const buckets = Map.groupBy(inAt, (at) => Math.floor(at / 1_000))
  // 100 a second, and those at once.
  expect(Math.max(...[...buckets.values()].map((all) => all.length))).toBeLessThanOrEqual(121)
  expect(inAt.at(-1)).toBeLessThan(40_000)
})

it('costs who comes alone nothing, and lets nobody in once it is closed', () => {
  let now = 0
  const admission = createAdmission(time, { now: () => now, random: () => 0.5 })
  for (let n = 0; n < 100; n++) {
    now += 10
    expect(admission.admit()).toBeUndefined()
  }
  admission.close()
  expect(admission.admit()).toBe(500)
})
