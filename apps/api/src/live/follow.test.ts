import { type Stream, isFinal } from '@errand/shared'
import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import type { ExecutionRow } from '../store/execution-row.ts'
import { eventId, positionOf } from './event-id.ts'
import { type FollowEvent, type Position, beginning, follow } from './follow.ts'
import { createLive } from './live.ts'

/** An execution whose store and publications a test drives by hand. */
function scene() {
  const live = createLive()
  const row = {
    id: 'x',
    status: 'waiting',
    attempt: 0,
    fence: 0,
    waiting_reason: null,
  } as unknown as ExecutionRow
  const output = { stdout: new Uint8Array(0), stderr: new Uint8Array(0) }
  /** How much there was when it was last read. */
  const read = { stdout: 0, stderr: 0 }
  let reads = 0
  const parts = {
    live,
    read: () => {
      reads++
      return Promise.resolve({ ...row })
    },
    readOutput: (fence: number, stream: Stream, offset: number, length: number) => {
      read[stream] = output[stream].length
      return Promise.resolve(
        fence === row.fence ? output[stream].slice(offset, offset + length) : new Uint8Array(0),
      )
    },
    pollEveryMs: 20,
    idleMs: 1_000_000,
  }
  return {
    live,
    parts,
    output,
    read,
    reads: () => reads,
    move: (change: Partial<ExecutionRow>) => Object.assign(row, change),
    store(stream: Stream, text: string) {
      const offset = output[stream].length
      const bytes = new TextEncoder().encode(text)
      const longer = new Uint8Array(offset + bytes.length)
      longer.set(output[stream])
      longer.set(bytes, offset)
      output[stream] = longer
      return { type: 'output' as const, attempt: 1, fence: row.fence, stream, offset, bytes }
    },
    final: () => ({ type: 'final' as const, execution: { ...row } }),
  }
}

async function collect(events: AsyncIterable<[FollowEvent, Position]>, most = Number.POSITIVE_INFINITY) {
  const told: FollowEvent[] = []
  let position = beginning
  for await (const [event, next] of events) {
    told.push(event)
    position = next
    if (told.length >= most) break
  }
  return { told, position }
}

/** The bytes as text, after a check that no event leaves a gap or tells a byte twice. */
function textOf(told: FollowEvent[], stream: Stream, from = 0): string {
  const pieces = told.filter((event) => event.type === 'output').filter((event) => event.stream === stream)
  let end = from
  for (const { offset, bytes } of pieces) {
    expect(offset).toBe(end)
    end += bytes.length
  }
  return pieces.map(({ bytes }) => new TextDecoder().decode(bytes)).join('')
}

const endless = new AbortController().signal

describe('follow', () => {
  it('tells what is stored, then what is published, then the end', async () => {
    const it = scene()
    it.move({ status: 'running', fence: 7, attempt: 1 })
    it.store('stdout', 'ab')
    const events = follow(it.parts, 'x', beginning, endless)
    const start = await collect(
      {
        [Symbol.asyncIterator]: () => ({ next: () => events.next() }),
      },
      2,
    )
    expect(start.told.map((event) => event.type)).toEqual(['status', 'output'])
    it.live.publish('x', it.store('stdout', 'cd'))
    it.live.publish('x', it.store('stderr', 'E'))
    it.move({ status: 'completed' })
    it.live.publish('x', it.final())
    const { told } = await collect(events)
    expect(told.map((event) => event.type)).toEqual(['output', 'output', 'end'])
    expect(textOf(told, 'stdout', 2)).toBe('cd')
  })

  it('reads what another replica has stored as soon as that tells', async () => {
    const it = scene()
    it.parts.pollEveryMs = 1_000_000
    it.move({ status: 'running', fence: 1, attempt: 1 })
    const events = collect(follow(it.parts, 'x', beginning, endless))
    for (const text of ['a', 'b', 'c']) {
      it.store('stdout', text)
      it.live.publish('x', { type: 'elsewhere', event: 'output' })
      await vi.waitFor(() => expect(it.read.stdout).toBe(it.output.stdout.length))
    }
    it.move({ status: 'completed' })
    it.live.publish('x', { type: 'elsewhere', event: 'final' })
    const { told } = await events
    expect(textOf(told, 'stdout')).toBe('abc')
    expect(told.at(-1)!.type).toBe('end')
  })

  it('loses nothing that is published between its subscription and its read', async () => {
    const it = scene()
    it.move({ status: 'running', fence: 1, attempt: 1 })
    const stored = it.parts.read
    it.parts.read = () => {
      // The read's answer is older than what is published while it is under way
      const answer = stored()
      it.live.publish('x', it.store('stdout', 'meanwhile'))
      it.move({ status: 'completed' })
      it.live.publish('x', it.final())
      it.parts.read = stored
      return answer
    }
    const { told } = await collect(follow(it.parts, 'x', beginning, endless))
    expect(textOf(told, 'stdout')).toBe('meanwhile')
    expect(told.at(-1)!.type).toBe('end')
  })

  it('finds by its poll what was never published here', async () => {
    const it = scene()
    const events = collect(follow(it.parts, 'x', beginning, endless))
    it.move({ status: 'completed', fence: 3, attempt: 1 })
    it.store('stdout', 'of another replica')
    expect(textOf((await events).told, 'stdout')).toBe('of another replica')
  })

  it('begins at 0 with a higher attempt when the job is claimed again', async () => {
    const it = scene()
    it.move({ status: 'running', fence: 1, attempt: 1 })
    it.store('stdout', 'first')
    const events = follow(it.parts, 'x', beginning, endless)
    await events.next()
    await events.next()
    it.move({ status: 'running', fence: 2, attempt: 2 })
    it.output.stdout = new Uint8Array(0)
    it.live.publish('x', it.store('stdout', 'second'))
    it.move({ status: 'completed' })
    const { told } = await collect(events)
    expect(told).toContainEqual(
      expect.objectContaining({
        type: 'output',
        attempt: 2,
        offset: 0,
        bytes: new TextEncoder().encode('second'),
      }),
    )
  })

  it('lets go of events for a slow reader and goes on from the store', async () => {
    const it = scene()
    it.move({ status: 'running', fence: 1, attempt: 1 })
    const events = follow(it.parts, 'x', beginning, endless)
    await events.next()
    const half = events.next()
    it.live.publish('x', it.store('stdout', 'first '))
    await half
    // 1 MiB while it reads nothing
    for (let n = 0; n < 64; n++) it.live.publish('x', it.store('stdout', 'x'.repeat(16 * 1024)))
    it.move({ status: 'completed' })
    it.live.publish('x', it.final())
    const { told } = await collect(events)
    expect(textOf(told, 'stdout', 6)).toHaveLength(1024 * 1024)
    expect(told.at(-1)!.type).toBe('end')
  })

  it('leaves no listener behind, whether it ends, is left or is aborted', async () => {
    const it = scene()
    await collect(follow(it.parts, 'x', beginning, endless), 1)
    const aborter = new AbortController()
    const aborted = collect(follow(it.parts, 'x', beginning, aborter.signal))
    await expect.poll(() => it.live.listeners).toBe(1)
    aborter.abort()
    await aborted
    it.move({ status: 'canceled' })
    await collect(follow(it.parts, 'x', beginning, endless))
    expect(it.live.listeners).toBe(0)
  })

  it('says when nothing happens', async () => {
    const it = scene()
    const { told } = await collect(follow({ ...it.parts, idleMs: 30 }, 'x', beginning, endless), 2)
    expect(told.map((event) => event.type)).toEqual(['status', 'idle'])
  })

  it('is exact whatever is published late, twice or never, and resumes exactly after any event', async () => {
    const step = fc.record({
      stream: fc.constantFrom<Stream>('stdout', 'stderr'),
      text: fc.string({ minLength: 1, maxLength: 5, unit: 'binary-ascii' }),
      fate: fc.constantFrom('published', 'published twice', 'with all before it', 'late', 'never'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.nat(14), async (steps, cut) => {
        const it = scene()
        it.parts.pollEveryMs = 2
        it.move({ status: 'running', fence: 4, attempt: 1 })
        const first = collect(follow(it.parts, 'x', beginning, endless), cut + 1)
        const late: ReturnType<typeof it.store>[] = []
        for (const { stream, text, fate } of steps) {
          const event = it.store(stream, text)
          if (fate === 'late') late.push(event)
          else if (fate === 'with all before it')
            it.live.publish('x', { ...event, offset: 0, bytes: it.output[stream] })
          else if (fate !== 'never') it.live.publish('x', event)
          if (fate === 'published twice') it.live.publish('x', event)
          await Promise.resolve()
        }
        for (const event of late) it.live.publish('x', event)
        it.move({ status: 'completed' })
        it.live.publish('x', it.final())

        const { told, position } = await first
        const resumed = positionOf(eventId(position))!
        const rest = isFinal(resumed.status ?? 'waiting')
          ? []
          : (await collect(follow(it.parts, 'x', resumed, endless))).told
        const all = [...told, ...rest]
        for (const stream of ['stdout', 'stderr'] as const)
          expect(textOf(all, stream)).toBe(new TextDecoder().decode(it.output[stream]))
        expect(all.filter((event) => event.type === 'end')).toHaveLength(1)
        expect(it.live.listeners).toBe(0)
      }),
      { numRuns: 200 },
    )
  })
})
