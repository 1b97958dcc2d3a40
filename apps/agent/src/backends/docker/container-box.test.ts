import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { ContainerBox } from './container-box.ts'
import type { Engine } from './engine.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** A container that has ended as soon as it is started, with what it wrote still on its way. */
function endedContainer(more: Partial<Engine> = {}) {
  const stream = new PassThrough()
  const engine = {
    exit: async () => {},
    attach: async () => stream,
    start: async () => {},
    ...more,
  } as unknown as Engine
  return { stream, box: ContainerBox.start(engine, 'id', 1_000) }
}

/** On a container's standard error, which needs no frames. */
const piece = Buffer.from([2, 0, 0, 0, 0, 0, 0, 1, 0x78])

it('reads on for as long as something comes', async () => {
  const { stream, box } = endedContainer()
  await box
  for (let count = 0; count < 5; count++) {
    vi.advanceTimersByTime(900)
    stream.push(piece)
    await turn()
    await turn()
  }
  expect(stream.destroyed).toBe(false)
})

it('reads what came while the agent was busy', async () => {
  const { stream, box } = endedContainer()
  await box
  vi.advanceTimersByTime(1_000)
  stream.push(piece)
  await turn()
  await turn()
  expect(stream.destroyed).toBe(false)
})

it('waits for nothing where nothing comes', async () => {
  const { stream, box } = endedContainer()
  await box
  vi.advanceTimersByTime(1_000)
  await turn()
  await turn()
  expect(stream.destroyed).toBe(true)
})

it('says that it ends before it is known why', async () => {
  const state = Promise.withResolvers<undefined>()
  const { stream, box } = endedContainer({ state: () => state.promise })
  const said: string[] = []
  const closed = new Promise<void>((resolve) => {
    void box.then((opened) =>
      opened.listen({
        frame: () => {},
        ending: () => void said.push('ending'),
        closed: () => resolve(void said.push('closed')),
      }),
    )
  })
  await box
  stream.destroy()
  await turn()
  expect(said).toEqual(['ending'])
  state.resolve(undefined)
  await closed
  expect(said).toEqual(['ending', 'closed'])
})

it('leaves no stream where it does not start', async () => {
  const { stream, box } = endedContainer({ start: () => Promise.reject(new Error('no')) })
  await expect(box).rejects.toThrow('no')
  expect(stream.destroyed).toBe(true)
})
