import { describe, expect, it } from 'vitest'
import { createLive } from './live.ts'
import { openMailbox } from './mailbox.ts'

const quiet = new AbortController().signal
const output = (offset: number, length: number) => ({
  type: 'output' as const,
  attempt: 1,
  fence: 1,
  stream: 'stdout' as const,
  offset,
  bytes: new Uint8Array(length),
})

describe('openMailbox', () => {
  it('keeps what comes before it is read, in order', async () => {
    const live = createLive()
    using mailbox = openMailbox(live, 'x')
    const events = [output(0, 5), output(5, 5)]
    for (const event of events) live.publish('x', event)
    live.publish('y', output(9, 9))
    expect([await mailbox.next(1, quiet), await mailbox.next(1, quiet)]).toEqual(events)
    expect(await mailbox.next(1, quiet)).toBeUndefined()
  })

  it('lets go of all when it is too much, says so at once, and goes on', async () => {
    const live = createLive()
    using mailbox = openMailbox(live, 'x')
    for (let n = 0; n <= 4; n++) live.publish('x', output(n * 65_536, 65_536))
    expect(await mailbox.next(60_000, quiet)).toBeUndefined()
    const later = output(400_000, 1)
    live.publish('x', later)
    expect(await mailbox.next(60_000, quiet)).toEqual(later)
    // Small ones count too
    for (let n = 0; n <= 256; n++) live.publish('x', output(n, 1))
    expect(await mailbox.next(60_000, quiet)).toBeUndefined()
  })

  it('keeps one hint of another replica for all that come before it is read', async () => {
    const live = createLive()
    using mailbox = openMailbox(live, 'x')
    for (let n = 0; n < 1_000; n++) live.publish('x', { type: 'elsewhere', event: 'output' })
    expect(await mailbox.next(1, quiet)).toEqual({ type: 'elsewhere', event: 'output' })
    expect(await mailbox.next(1, quiet)).toBeUndefined()
    live.publishToAll({ type: 'elsewhere', event: 'final' })
    expect(await mailbox.next(1, quiet)).toEqual({ type: 'elsewhere', event: 'final' })
  })

  it('wakes on an event and on an abort', async () => {
    const live = createLive()
    const aborter = new AbortController()
    using mailbox = openMailbox(live, 'x')
    const woken = mailbox.next(60_000, quiet)
    live.publish('x', output(0, 1))
    expect(await woken).toEqual(output(0, 1))
    const aborted = mailbox.next(60_000, aborter.signal)
    aborter.abort()
    expect(await aborted).toBeUndefined()
  })
})
