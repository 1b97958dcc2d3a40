import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { scaleTime } from '@errand/shared'
import { assignment, startAgent } from '../testing/agent-under-test.ts'
import { ScriptedApi } from '../testing/scripted-api.ts'
import { Lease } from './lease.ts'

const make = (now: () => number, kept?: number) => {
  const keptTimes: number[] = []
  const lease = new Lease({
    time: scaleTime(1),
    monotonic: now,
    kept,
    keep: (sentAt) => keptTimes.push(sentAt),
  })
  return { lease, keptTimes }
}

describe('Lease', () => {
  it('lives for its time after the last acknowledged frame was sent', () => {
    let now = 100_000
    const { lease } = make(() => now)
    expect(lease.alive).toBe(false)
    lease.acknowledged(90_000)
    expect(lease.alive).toBe(true)
    now = 119_999
    expect(lease.alive).toBe(true)
    now = 120_000
    expect(lease.alive).toBe(false)
  })

  it('is not set back by a late answer to an older frame', () => {
    const { lease } = make(() => 100_000)
    lease.acknowledged(99_000)
    lease.acknowledged(10_000)
    expect(lease.alive).toBe(true)
  })

  it('is taken over from the process before, unless it is of the future', () => {
    expect(make(() => 100_000, 80_000).lease.alive).toBe(true)
    expect(make(() => 100_000, 60_000).lease.alive).toBe(false)
    expect(make(() => 100_000, 200_000).lease.alive).toBe(false)
  })

  it('is kept at most once a second', () => {
    const { lease, keptTimes } = make(() => 100_000)
    for (const sentAt of [1_000, 1_500, 2_000, 2_100]) lease.acknowledged(sentAt)
    expect(keptTimes).toEqual([1_000, 2_000])
  })
})

describe('an agent whose lease ran out', () => {
  let api: ScriptedApi
  beforeEach(async () => {
    api = new ScriptedApi()
    await api.listen()
  })
  afterEach(() => api.close())
  /** The lease never gets renewed. */
  const time = { leaseMs: 150, renewEveryMs: 1_000, lostAfterMs: 600 }

  it('starts nothing that it had accepted, and says so by not listing it', async () => {
    await using agent = startAgent(api, { time })
    const file = join(agent.agentDir, 'starts')
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ mark: file }, { exit: 0 }], { script: { prepare_ms: 400 } }))
    await expect.poll(() => agent.spool.held()).toHaveLength(1)
    api.away = true
    api.socket?.terminate()
    await expect.poll(() => agent.spool.held()).toEqual([])
    api.away = false
    expect((await api.until(() => api.of('inventory')[1])).held).toEqual([])
    expect(existsSync(file)).toBe(false)
    expect(api.of('finish').some((one) => one.id === job.id)).toBe(false)
  })

  it('ends at once what may be tried again elsewhere, and keeps the rest', async () => {
    await using agent = startAgent(api, { time: { ...time, lostAfterMs: 60_000 } })
    await api.until(() => api.credits > 0)
    const again = api.assign(assignment([{ sleep_ms: 60_000 }], { attempts_left: true }))
    const only = api.assign(assignment([{ sleep_ms: 60_000 }]))
    api.away = true
    await expect.poll(() => agent.spool.result(again)?.outcome).toBe('lost')
    expect(agent.spool.held().find((one) => one.id === only.id)?.state).toBe('starting')
  })

  it('ends every job after the longest time without an acknowledgement, and reports them later', async () => {
    await using agent = startAgent(api, { time })
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }]))
    await api.until(() => api.of('output').length > 0)
    api.away = true
    await expect.poll(() => agent.spool.result(job)?.outcome).toBe('lost')
    api.away = false
    expect(await api.result(job)).toMatchObject({ outcome: 'lost', text: 'x' })
  })

  it('leaves the socket whose renewals go unanswered', async () => {
    await using _ = startAgent(api, { time: { ...time, renewEveryMs: 20 } })
    api.interfere = (message) => message.type === 'renew'
    await api.until(() => api.sessions >= 2)
    expect(api.of('renew').length).toBeGreaterThan(0)
  })
})
