import { describe, expect, it, vi } from 'vitest'
import { Unavailable } from '../store/database.ts'
import type { ExecutionRow } from '../store/execution-row.ts'
import { createLive } from './live.ts'
import { watchFinal } from './watch-final.ts'

const row = (status: string) => ({ id: 'x', status }) as unknown as ExecutionRow
const forever = 60_000
const quiet = new AbortController().signal

describe('watchFinal', () => {
  it('answers with the published row, without a read', async () => {
    const live = createLive()
    using watch = watchFinal(
      { live, read: () => Promise.reject(new Error('read')), pollEveryMs: forever },
      'x',
    )
    // Published before anyone waits: a run may end before its submit is answered
    live.publish('x', { type: 'status', execution: row('running') })
    live.publish('x', { type: 'final', execution: row('completed') })
    expect(await watch.within(forever, quiet)).toEqual(row('completed'))
  })

  it('finds by its poll what another replica stored', async () => {
    const answers = [row('waiting'), undefined, row('completed')]
    using watch = watchFinal(
      { live: createLive(), read: () => Promise.resolve(answers.shift()), pollEveryMs: 5 },
      'x',
    )
    expect(await watch.within(forever, quiet)).toEqual(row('completed'))
  })

  it('reads when another replica tells of the end, whenever that comes, and of nothing else', async () => {
    const live = createLive()
    let reads = 0
    const read = () => {
      reads += 1
      // Told again while it is being read.
      if (reads === 2) live.publish('x', { type: 'elsewhere', event: 'final' })
      return Promise.resolve(row(reads < 3 ? 'running' : 'completed'))
    }
    using watch = watchFinal({ live, read, pollEveryMs: forever }, 'x')
    live.publish('x', { type: 'elsewhere', event: 'output' })
    // Before anyone waits, as with a run that ends before its submit is answered.
    live.publish('x', { type: 'elsewhere', event: 'final' })
    const waiting = watch.within(forever, quiet)
    await vi.waitFor(() => expect(reads).toBe(1))
    live.publish('x', { type: 'elsewhere', event: 'final' })
    expect(await waiting).toEqual(row('completed'))
    expect(reads).toBe(3)
  })

  it('waits on while the database is away', async () => {
    let reads = 0
    const read = () =>
      ++reads < 3 ? Promise.reject(new Unavailable('gone')) : Promise.resolve(row('completed'))
    using watch = watchFinal({ live: createLive(), read, pollEveryMs: 5 }, 'x')
    expect(await watch.within(forever, quiet)).toEqual(row('completed'))
  })

  it('gives up after its time, at once on an abort, and leaves nothing behind', async () => {
    const live = createLive()
    const aborter = new AbortController()
    {
      using watch = watchFinal(
        { live, read: () => Promise.resolve(row('waiting')), pollEveryMs: forever },
        'x',
      )
      expect(await watch.within(10, quiet)).toEqual(row('waiting'))
      const waiting = watch.within(forever, quiet, aborter.signal)
      aborter.abort()
      expect(await waiting).toBeUndefined()
      expect(live.listeners).toBe(1)
    }
    expect(live.listeners).toBe(0)
  })
})
