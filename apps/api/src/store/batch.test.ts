import { array, assert, asyncProperty, integer, nat, record } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createBatcher } from './batch.ts'
import { Unavailable } from './database.ts'

describe('createBatcher', () => {
  it('answers every item with its own result, runs one batch at a time and keeps the order and the bounds', async () => {
    await assert(
      asyncProperty(
        array(record({ size: nat(9), pauses: nat(3) }), { maxLength: 40 }),
        integer({ min: 1, max: 5 }),
        async (given, maxItems) => {
          let running = 0
          const batches: number[][] = []
          const batcher = createBatcher<{ n: number; size: number }, string>({
            maxItems,
            maxBytes: 12,
            weigh: ({ size }) => size,
            async run(items) {
              expect(++running).toBe(1)
              await Promise.resolve()
              running--
              batches.push(items.map(({ n }) => n))
              expect(items.length === 1 || items.reduce((sum, { size }) => sum + size, 0) <= 12).toBe(true)
              return items.map(({ n }) => `result ${n}`)
            },
          })
          const results: Promise<string>[] = []
          for (const [n, { size, pauses }] of given.entries()) {
            results.push(batcher({ n, size }))
            for (let pause = 0; pause < pauses; pause++) await Promise.resolve()
          }
          expect(await Promise.all(results)).toEqual(given.map((_one, n) => `result ${n}`))
          expect(batches.flat()).toEqual(given.map((_one, n) => n))
          for (const batch of batches) expect(batch.length).toBeLessThanOrEqual(maxItems)
        },
      ),
    )
  })

  it('takes those that come while one is under way together', async () => {
    const sizes: number[] = []
    const batcher = createBatcher<number, number>({
      weigh: () => 1,
      async run(items) {
        sizes.push(items.length)
        await Promise.resolve()
        return items
      },
    })
    await Promise.all([1, 2, 3, 4].map(batcher))
    expect(sizes).toEqual([1, 3])
  })

  it('fails the bad items of a batch only', async () => {
    const batcher = createBatcher<number, number>({
      weigh: () => 1,
      run: (items) => (items.includes(3) ? Promise.reject(new Error('three')) : Promise.resolve(items)),
    })
    const results = await Promise.allSettled([1, 2, 3, 4].map(batcher))
    expect(results.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    expect(await batcher(5)).toBe(5)
  })

  it('asks an absent database once for a whole batch', async () => {
    let runs = 0
    const batcher = createBatcher<number, number>({
      weigh: () => 1,
      run() {
        runs++
        return Promise.reject(new Unavailable(new Error('away')))
      },
    })
    const results = await Promise.allSettled([1, 2, 3, 4].map(batcher))
    expect(results.map((one) => one.status)).toEqual(Array.from({ length: 4 }, () => 'rejected'))
    expect(runs).toBe(2)
  })
})
