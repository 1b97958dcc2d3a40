import { jobProgress } from '@errand/shared'
import { array, assert, constantFrom, double, oneof, option, property, record } from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EngineProgress } from './engine-progress.ts'
import { PullProgress } from './pull-progress.ts'

type Told = [status: string, id?: string, current?: number, total?: number]

const done: Told = ['Status: Downloaded newer image for a:1']

/** What it says after each of these, which come a second apart. */
function afterEach(...all: Told[]) {
  const progress = new PullProgress()
  return all.map(([status, id, current, total], index) => {
    progress.take({ status, id, current, total }, index * 1_000)
    return progress.at(index * 1_000)
  })
}

const afterAll = (...all: Told[]) => afterEach(...all).at(-1)!

describe('PullProgress', () => {
  it('goes from nothing to all, over all layers', () => {
    const seen = afterEach(
      ['Pulling from library/a', '1'],
      ['Already exists', 'base'],
      ['Pulling fs layer', 'one'],
      ['Pulling fs layer', 'two'],
      ['Downloading', 'one', 100, 400],
      ['Downloading', 'two', 300, 600],
      ['Verifying Checksum', 'one'],
      ['Download complete', 'one'],
      ['Extracting', 'one', 200, 400],
      ['Download complete', 'two'],
      ['Pull complete', 'one'],
      ['Extracting', 'two', 600, 600],
      ['Pull complete', 'two'],
      ['Digest: sha256:0'],
      done,
    )
    expect(
      seen.map(({ phase, bytes_done, bytes_total, percent }) => [phase, bytes_done, bytes_total, percent]),
    ).toEqual([
      ['resolving', 0, null, null],
      ['resolving', 0, null, null],
      ['downloading', 0, null, null],
      ['downloading', 0, null, null],
      ['downloading', 100, null, null],
      ['downloading', 400, 1_000, 20],
      ['downloading', 700, 1_000, 35],
      ['downloading', 700, 1_000, 35],
      ['downloading', 700, 1_000, 45],
      ['extracting', 1_000, 1_000, 60],
      ['extracting', 1_000, 1_000, 70],
      ['extracting', 1_000, 1_000, 99.9],
      ['extracting', 1_000, 1_000, 99.9],
      ['extracting', 1_000, 1_000, 99.9],
      ['done', 1_000, 1_000, 100],
    ])
  })

  it('knows no total while a layer waits for its turn', () => {
    const waiting: Told[] = [
      ['Pulling fs layer', 'one'],
      ['Waiting', 'two'],
      ['Downloading', 'one', 1, 2],
    ]
    expect(afterAll(...waiting)).toMatchObject({ bytes_total: null, percent: null })
    expect(afterAll(...waiting, ['Downloading', 'two', 1, 2])).toMatchObject({ bytes_total: 4, percent: 25 })
  })

  it('is done at once with an image that is up to date', () => {
    expect(afterAll(['Pulling from a', '1'], ['Status: Image is up to date for a:1'])).toEqual({
      phase: 'done',
      bytes_done: 0,
      bytes_total: 0,
      percent: 100,
      bytes_per_sec: null,
    })
  })

  it('learns the size of a layer that was complete before it was told, when it is unpacked', () => {
    expect(afterAll(['Pulling fs layer', 'a'], ['Download complete', 'a'])).toMatchObject({
      phase: 'extracting',
      bytes_done: 0,
      bytes_total: 0,
    })
    expect(afterAll(['Download complete', 'a'], ['Extracting', 'a', 1, 10])).toMatchObject({
      bytes_done: 10,
      bytes_total: 10,
      percent: 55,
    })
  })

  it.each([[undefined], [0], [-1], [NaN], [Infinity]])(
    'knows no total where a layer has the size %s',
    (total) => {
      expect(afterAll(['Downloading', 'a', 70, total])).toMatchObject({ bytes_done: 70, bytes_total: null })
      expect(afterAll(['Downloading', 'a', 70, total], ['Download complete', 'a'])).toMatchObject({
        bytes_done: 70,
        bytes_total: 70,
      })
    },
  )

  it('falls back with a layer that is fetched again, but never in percent', () => {
    const seen = afterEach(
      ['Downloading', 'a', 900, 1_000],
      ['Retrying in 2 seconds', 'a'],
      ['Retrying in 1 second', 'a'],
      ['Downloading', 'a', 100, 1_000],
      ['Verifying Checksum', 'a'],
      ['Retrying in 5 seconds', 'a'],
      ['Downloading', 'a', 200, 1_000],
    )
    expect(seen.map(({ bytes_done }) => bytes_done)).toEqual([900, 900, 900, 100, 1_000, 1_000, 200])
    expect(seen.map(({ percent }) => percent)).toEqual([45, 45, 45, 45, 50, 50, 50])
  })

  it('goes on with what was left of a layer when it was interrupted', () => {
    const seen = afterEach(
      ['Downloading', 'a', 300, 1_000],
      ['Retrying in 1 second', 'a'],
      ['Downloading', 'a', 100, 700],
      ['Downloading', 'a', 700, 700],
      ['Extracting', 'a', 1_000, 1_000],
    )
    expect(seen.map(({ bytes_done, bytes_total }) => [bytes_done, bytes_total])).toEqual([
      [300, 1_000],
      [300, 1_000],
      [400, 1_000],
      [1_000, 1_000],
      [1_000, 1_000],
    ])
  })

  it('counts an interruption once, however long the Engine counts down', () => {
    const progress = new PullProgress()
    for (const status of [
      'Retrying in 2 seconds',
      'Retrying in 1 second',
      'Downloading',
      'Retrying in 1 second',
    ])
      progress.take({ status, id: 'a', current: 1, total: 2 }, 0)
    expect(progress.retries).toBe(2)
  })

  it('counts a layer that an image has twice once', () => {
    expect(
      afterAll(
        ['Download complete', 'a'],
        ['Extracting', 'a', 5, 10],
        ['Pull complete', 'a'],
        ['Extracting', 'a', 1, 10],
      ),
    ).toMatchObject({ bytes_done: 10, bytes_total: 10, percent: 99.9 })
  })

  it('tells the speed of the last seconds, and that nothing comes any more', () => {
    const progress = new PullProgress()
    const come = (current: number, at: number) => {
      progress.take({ id: 'a', status: 'Downloading', current, total: 1e9 }, at)
      return progress.at(at).bytes_per_sec
    }
    progress.take({ id: 'a', status: 'Pulling fs layer', current: undefined, total: undefined }, 0)
    expect(come(100, 200)).toBeNull()
    expect(come(1_000, 1_000)).toBe(1_000)
    for (let second = 2; second <= 10; second += 1) come(second * 1_000, second * 1_000)
    expect(come(31_000, 11_000)).toBe((31_000 - 6_000) / 5)
    for (let second = 12; second < 17; second += 1) progress.at(second * 1_000)
    expect(progress.at(17_000).bytes_per_sec).toBe(0)
  })

  it('has no total with more layers than an image may have', () => {
    const layers = Array.from({ length: 1_001 }, (_, index): Told => ['Download complete', `${index}`])
    expect(afterAll(...layers)).toMatchObject({ bytes_total: null })
    expect(afterAll(...layers, done)).toMatchObject({ phase: 'done', percent: 100 })
  })

  it('is always a progress, never falls in percent, and never has more than there is', () => {
    const amount = option(oneof(double(), constantFrom(0, 1, 512, 2 ** 31, 2 ** 63)), { nil: undefined })
    const statuses = [
      'Pulling from a',
      'Pulling fs layer',
      'Waiting',
      'Downloading',
      'Retrying in 5 seconds',
      'Verifying Checksum',
      'Download complete',
      'Extracting',
      'Pull complete',
      'Already exists',
      'Status: Downloaded newer image for a:1',
      '__proto__',
    ]
    const told = record<EngineProgress>({
      id: option(constantFrom('a', 'b', 'c', 'constructor'), { nil: undefined }),
      status: constantFrom(...statuses),
      current: amount,
      total: amount,
    })
    assert(
      property(
        array(record({ told, at: double({ min: 0, max: 1e9, noNaN: true }) }), { maxLength: 40 }),
        (all) => {
          const progress = new PullProgress()
          let before = -1
          for (const { told: one, at } of all) {
            progress.take(one, at)
            const now = jobProgress.parse(progress.at(at))
            expect(now.bytes_done).toBeLessThanOrEqual(now.bytes_total ?? Infinity)
            expect(now.percent ?? (before === -1 ? 0 : NaN)).toBeGreaterThanOrEqual(Math.max(before, 0))
            before = now.percent ?? before
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})
