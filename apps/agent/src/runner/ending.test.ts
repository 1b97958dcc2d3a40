import { describe, expect, it } from 'vitest'
import { Ending } from './ending.ts'

const make = () => {
  let now = 0
  const ending = new Ending(() => now)
  return { ending, at: (ms: number) => (now = ms) }
}

describe('Ending', () => {
  it('takes the first reason', () => {
    const { ending } = make()
    ending.begin('run', 60_000)
    ending.stop('output_limit')
    ending.stop('canceled')
    expect(ending.signal.reason).toBe('output_limit')
    expect(ending.exited()).toMatchObject({ stopped: 'output_limit' })
  })

  it('takes none once the program has ended by itself', () => {
    const { ending } = make()
    ending.begin('run', 60_000)
    expect(ending.exited()).toMatchObject({ stopped: null })
    ending.stop('canceled')
    expect(ending.reason).toBeNull()
    expect(ending.signal.aborted).toBe(false)
  })

  it('takes the output limit also then: what was written was written before', () => {
    const { ending } = make()
    ending.begin('run', 60_000)
    ending.exited()
    ending.stop('output_limit')
    expect(ending.reason).toBe('output_limit')
  })

  it('does not begin the next phase when a cancel came after the one before had ended', () => {
    const { ending } = make()
    ending.begin('compile', 60_000)
    ending.exited()
    ending.stop('canceled')
    expect(ending.reason).toBeNull()
    expect(ending.goesOn).toBe(false)
    expect(ending.reason).toBe('canceled')
  })

  it('stops at the phase’s own time limit', async () => {
    const { ending } = make()
    ending.begin('run', 5)
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve))
    expect(ending.exited().stopped).toBe('timed_out')
  })

  it('begins a phase anew when it starts later than it was sent on its way', async () => {
    const { ending, at } = make()
    ending.begin('compile', 5)
    at(40)
    ending.begin('compile', 60_000)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(ending.reason).toBeNull()
    at(50)
    expect(ending.exited().ms).toBe(10)
    expect(ending.times).toMatchObject({ startedAt: 40, endedAt: 50 })
  })

  it('takes the time that was measured beside the program', () => {
    const { ending, at } = make()
    at(10)
    ending.begin('run', 60_000)
    at(105)
    expect(ending.exited(100).ms).toBe(100)
    expect(ending.times).toEqual({ startedAt: 5, endedAt: 105, ranMs: 100, durationMs: 100, measured: true })
  })

  it('measures each phase and both together', () => {
    const { ending, at } = make()
    at(10)
    ending.begin('compile', 60_000)
    at(110)
    expect(ending.exited().ms).toBe(100)
    at(120)
    ending.begin('run', 60_000)
    at(150)
    expect(ending.exited().ms).toBe(30)
    expect(ending.times).toEqual({ startedAt: 10, endedAt: 150, ranMs: 30, durationMs: 130, measured: false })
  })
})
