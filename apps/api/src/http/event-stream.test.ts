import { describe, expect, it } from 'vitest'
import { eventStream } from './event-stream.ts'

function counted() {
  const state = { made: 0, ended: false, stopped: false }
  async function* chunks() {
    try {
      for (;;) yield `${state.made++}\n`
    } finally {
      state.ended = true
    }
  }
  return { state, chunks: chunks(), stop: () => void (state.stopped = true) }
}

describe('eventStream', () => {
  it('makes no more than its reader takes', async () => {
    const { state, chunks, stop } = counted()
    const reader = eventStream(chunks, stop).getReader()
    for (let n = 0; n < 5; n++) await reader.read()
    await expect.poll(() => state.made).toBe(6)
    await reader.cancel()
    expect(state).toEqual({ made: 6, ended: true, stopped: true })
  })

  it('NET-10: drops a reader that takes nothing', async () => {
    const { state, chunks, stop } = counted()
    const reader = eventStream(chunks, stop, 20).getReader()
    await expect.poll(() => state.ended).toBe(true)
    expect(state.stopped).toBe(true)
    await expect(reader.read()).rejects.toThrow('dropped')
  })

  it('ends when there is no more', async () => {
    async function* two() {
      yield 'a'
      yield 'b'
    }
    expect(await new Response(eventStream(two(), () => {})).text()).toBe('ab')
  })
})
