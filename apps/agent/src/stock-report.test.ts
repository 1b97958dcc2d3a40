import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createFake } from './backends/fake/fake.ts'
import { StockReport } from './stock-report.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

it('is told in the order in which it was found out, however long that took', async () => {
  const answers = [0, 1].map(() => Promise.withResolvers<number>())
  const left = [...answers]
  const stock = async () => {
    const free_bytes = await left.shift()!.promise
    return { disk: [{ path: '/', total_bytes: 9, free_bytes }] }
  }
  const told: number[] = []
  const report = new StockReport([{ ...createFake(), stock }], 10)
  report.attach(({ disk }) => told.push(disk[0]!.free_bytes))
  await vi.advanceTimersByTimeAsync(10)
  report.changed()
  await vi.advanceTimersByTimeAsync(10)
  answers[1]!.resolve(1)
  await vi.advanceTimersByTimeAsync(0)
  answers[0]!.resolve(2)
  await vi.waitFor(() => expect(told).toEqual([2, 1]))
})
