import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { ContainerBox } from './container-box.ts'
import type { Engine } from './engine.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** A container that has ended as soon as it is started, with what it wrote still on its way. */
async function endedContainer() {
  const stream = new PassThrough()
  const engine = {
    exit: async () => {},
    attach: async () => stream,
    start: async () => {},
  } as unknown as Engine
  await ContainerBox.start(engine, 'id')
  return stream
}

/** On a container's standard error, which needs no frames. */
const piece = Buffer.from([2, 0, 0, 0, 0, 0, 0, 1, 0x78])

it('reads on for as long as something comes', async () => {
  const stream = await endedContainer()
  for (let count = 0; count < 5; count++) {
    vi.advanceTimersByTime(900)
    stream.push(piece)
    await turn()
    await turn()
  }
  expect(stream.destroyed).toBe(false)
})

it('reads what came while the agent was busy', async () => {
  const stream = await endedContainer()
  vi.advanceTimersByTime(1_000)
  stream.push(piece)
  await turn()
  await turn()
  expect(stream.destroyed).toBe(false)
})

it('waits for nothing where nothing comes', async () => {
  const stream = await endedContainer()
  vi.advanceTimersByTime(1_000)
  await turn()
  await turn()
  expect(stream.destroyed).toBe(true)
})
