import type { JobProgress } from '@errand/shared'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { InstallProgress } from './install-progress.ts'

let told: JobProgress[]
let progress: InstallProgress
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  told = []
  progress = new InstallProgress((one) => void told.push(one))
})
afterEach(() => {
  progress.end()
  vi.useRealTimers()
})

test('it is told twice a second until it ends', () => {
  vi.advanceTimersByTime(2_000)
  expect(told).toHaveLength(5)
  progress.end()
  vi.advanceTimersByTime(2_000)
  expect(told).toHaveLength(5)
})

test('it goes from looking to fetching, and where nothing more comes to installing', () => {
  vi.advanceTimersByTime(500)
  expect(told.at(-1)).toMatchObject({ phase: 'resolving', bytes_done: 0, percent: null })
  progress.fetched(1_000)
  vi.advanceTimersByTime(500)
  progress.fetched(3_000)
  vi.advanceTimersByTime(500)
  expect(told.at(-1)).toMatchObject({ phase: 'downloading', bytes_done: 4_000, bytes_total: null })
  expect(told.at(-1)!.bytes_per_sec).toBeCloseTo(4_000 / 1.5)
  vi.advanceTimersByTime(5_000)
  expect(told.at(-1)).toMatchObject({ phase: 'installing', bytes_per_sec: 0 })
  progress.done()
  expect(told.at(-1)).toMatchObject({ phase: 'done', bytes_done: 4_000, bytes_total: 4_000, percent: 100 })
})

test('where nobody sees what is fetched it installs', () => {
  progress.unseen()
  vi.advanceTimersByTime(500)
  expect(told.at(-1)).toMatchObject({ phase: 'installing', bytes_done: 0 })
})
