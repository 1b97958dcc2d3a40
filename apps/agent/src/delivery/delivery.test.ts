import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sizeLimits } from '@errand/shared'
import { assignment, startAgent } from '../testing/agent-under-test.ts'
import { ScriptedApi } from '../testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
})
afterEach(() => api.close())

const limits = { timeout_sec: 60, output_limit_kb: 8192 }
/** Text whose every place is tellable. */
const numbers = (count: number) => Array.from({ length: count }, (_, n) => `${n}\n`).join('')
/** A step that writes about 300 KB, and what it writes: an assignment must fit into a frame. */
const write = { stdout: numbers(5_000), times: 12 }
const text = write.stdout.repeat(write.times)

describe('output', () => {
  it('goes out while the program runs, in frames of at most 64 KiB, with the rest in the last', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const sizes: number[] = []
    api.interfere = (message, payload) => {
      if (message.type === 'output' || message.type === 'finish') sizes.push(payload.length)
      return false
    }
    const job = api.assign(assignment([write, { exit: 0 }], { limits }))
    expect(await api.result(job)).toMatchObject({ outcome: 'succeeded', text })
    expect(sizes.length).toBeGreaterThan(2)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(sizeLimits.outputChunk)
  })

  it('is exact when the connection is cut in the middle of it', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    let frames = 0
    api.interfere = (message, payload, socket) => {
      if (message.type !== 'output') return false
      frames += 1
      // Every third is lost with its connection, before or after it was stored.
      if (frames % 6 === 5) api.store(message, payload)
      if (frames % 3 === 2) socket.terminate()
      return frames % 3 === 2
    }
    const steps = [write, { sleep_ms: 100 }, write, { exit: 0 }]
    const job = api.assign(assignment(steps, { limits }))
    const result = await api.result(job)
    expect(result.outcome).toBe('succeeded')
    expect(result.text === text + text).toBe(true)
    expect(api.sessions).toBeGreaterThan(2)
  })

  it('is spooled while the API is away, and the program is not held up', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = assignment([write, write, write, { exit: 0 }], { limits })
    let sent = 0
    api.interfere = (message, payload) => {
      sent += payload.length
      return message.type === 'output' || message.type === 'finish'
    }
    api.assign(job)
    await expect.poll(() => agent.spool.result(job)?.stdout.stored).toBe(text.length * 3)
    expect(sent).toBeGreaterThan(0)
    expect(sent).toBeLessThanOrEqual(sizeLimits.outputWindow)
    api.interfere = () => false
    api.socket?.terminate()
    expect((await api.result(job)).text === text.repeat(3)).toBe(true)
  })

  it('goes back to where the API is when that has less', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    let dropped = false
    api.interfere = (message, payload, socket) => {
      if (message.type !== 'output' || dropped) return false
      dropped = true
      const { id, fence, stream } = message
      expect(payload.length).toBeGreaterThan(0)
      api.say({ type: 'output_stored', id, fence, stream, verdict: 'stored', next_offset: 0 }, socket)
      return true
    }
    const job = api.assign(assignment([write, { exit: 0 }], { limits }))
    expect((await api.result(job)).text === text).toBe(true)
    expect(api.sessions).toBe(1)
    expect(api.of('finish')).toHaveLength(1)
  })

  it('of a program that floods leaves room for that of others', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const flood = api.assign(
      assignment([{ stdout: 'x'.repeat(65_536), times: 120 }, { exit: 0 }], { limits }),
    )
    const quick = api.assign(assignment([{ stdout: 'hello' }, { exit: 0 }]))
    expect((await api.result(quick)).text).toBe('hello')
    expect(api.stored.get(`${flood.id}/${flood.fence}`)?.result).toBeUndefined()
    expect((await api.result(flood)).stdout.stored).toBe(65_536 * 120)
  })
})

describe('a result', () => {
  it.each(['stored', 'already', 'stale'] as const)(
    'is forgotten once the API answers %s',
    async (verdict) => {
      await using agent = startAgent(api)
      await api.until(() => api.credits > 0)
      let finished = false
      api.interfere = (message, _, socket) => {
        if (message.type !== 'finish') return false
        finished = true
        api.say({ type: 'finished', id: message.id, fence: message.fence, verdict }, socket)
        return true
      }
      api.assign(assignment([{ stdout: 'x' }, { exit: 0 }]))
      await api.until(() => finished)
      await expect.poll(() => agent.spool.held()).toEqual([])
    },
  )

  it('is sent again after a cut, and listed as ended in the inventory', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    api.interfere = (message, payload, socket) => {
      if (message.type !== 'finish' || api.of('finish').length > 1) return false
      // Stored, but the answer is lost.
      api.finish(message, payload)
      socket.terminate()
      return true
    }
    const job = api.assign(assignment([{ stdout: 'x' }, { exit: 0 }]))
    await api.until(() => api.stored.get(`${job.id}/${job.fence}`)?.finishes === 2)
    expect(api.of('inventory')[1]?.held).toEqual([{ id: job.id, fence: job.fence, state: 'ended' }])
    await expect.poll(() => agent.spool.held()).toEqual([])
  })

  it('is sent again with the output that the API misses', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    let lost = 0
    api.interfere = (message) => {
      if (message.type !== 'finish' || lost > 0) return false
      lost += 1
      // As if another replica had less of it.
      const stored = api.stored.get(`${message.id}/${message.fence}`)!
      stored.stdout = stored.stdout.subarray(0, 1000)
      return false
    }
    const job = api.assign(assignment([write, { exit: 0 }], { limits }))
    expect((await api.result(job)).text === text).toBe(true)
    expect(api.of('finish')).toHaveLength(2)
  })
})

describe('a claim that is no longer ours', () => {
  it('ends its program when the API answers output with stale', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    api.interfere = (message, _, socket) => {
      if (message.type !== 'output') return false
      api.say(
        {
          type: 'output_stored',
          id: message.id,
          fence: message.fence,
          stream: message.stream,
          verdict: 'stale',
          next_offset: 0,
        },
        socket,
      )
      return true
    }
    api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
    await api.until(() => api.credits === 2)
    expect(agent.spool.held()).toEqual([])
    expect(api.of('finish')).toEqual([])
  })

  it('leaves nothing of what its program wrote last in the spool', async () => {
    // The first step is spooled at once, as it fills a chunk; the second waits until the program has ended.
    await using agent = startAgent(api, { time: { flushEveryMs: 60_000 } })
    await api.until(() => api.credits > 0)
    const steps = [{ stdout: 'x'.repeat(65_536) }, { stdout: 'last words' }, { sleep_ms: 60_000 }]
    const job = api.assign(assignment(steps))
    await api.until(() => api.of('output').length > 0)
    api.verdictOf = () => ({ verdict: 'drop', cancel: false })
    api.socket?.terminate()
    await api.until(() => api.sessions === 2 && api.credits === 2)
    expect(agent.spool.ends(job)).toEqual({ stdout: 0, stderr: 0 })
  })

  it('ends its program when a reconnect says drop', async () => {
    await using agent = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
    await api.until(() => api.of('output').length > 0)
    api.verdictOf = () => ({ verdict: 'drop', cancel: false })
    api.socket?.terminate()
    await api.until(() => api.sessions === 2 && api.credits === 2)
    expect(agent.spool.held()).toEqual([])
    expect(api.of('inventory')[1]?.held).toEqual([{ id: job.id, fence: job.fence, state: 'starting' }])
    expect(api.of('finish')).toEqual([])
  })

  it('ends as canceled when a cancel was missed meanwhile', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
    await api.until(() => api.of('output').length > 0)
    api.verdictOf = () => ({ verdict: 'keep', cancel: true })
    api.socket?.terminate()
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled', text: 'x' })
  })
})
