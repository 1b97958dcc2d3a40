import { stats as statsSchema, type Stats } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createEndedLately, minuteMs } from '../store/ended-lately.ts'
import { openTestApp, type TestApp } from './test-app.ts'

describe.each(['pglite', 'postgres'] as const)('GET /stats on %s', (database) => {
  let test: TestApp
  beforeAll(async () => {
    test = await openTestApp(database)
  })
  afterAll(() => test?.close())

  async function read(key = test.keys.viewer): Promise<Stats> {
    const answer = await test.request('GET', '/stats', { key })
    expect(answer.status).toBe(200)
    return statsSchema.parse(await answer.json())
  }

  /** What is read after what has happened until now. */
  async function fresh(key = test.keys.viewer): Promise<Stats> {
    const before = (await read(key)).as_of
    return await vi.waitFor(async () => {
      const now = await read(key)
      expect(now.as_of).not.toBe(before)
      return now
    }, 20_000)
  }

  it('counts what waits, runs and has ended, each key seeing its project and all the fleet', async () => {
    const agent = await test.connectAgent(0)
    const gone = await test.connectAgent(0)
    await test.parts.db.query('update agents set lease_until = now() where id = $1', [gone.agentId])
    expect(await fresh()).toMatchObject({
      agents: { online: 1, draining: 0, offline: 1 },
      slots: { run: { total: 4, taken: 0 }, ssh: { total: 0, taken: 0 } },
      queue: { length: 0, oldest_wait_sec: null },
      last_hour: { ended: 0 },
      attention: { waiting: [], agents_away: [{ agent_id: gone.agentId, name: gone.name }] },
    })
    for (let n = 0; n < 4; n++) await test.submit()
    agent.grant(2)
    await vi.waitFor(() => expect(agent.assigned).toHaveLength(2))
    const [first, second] = agent.assigned
    await agent.finish(first!)
    await agent.finish(second!, { result: { outcome: 'timed_out', exit_code: null, signal: 'SIGKILL' } })
    agent.grant(1)
    await vi.waitFor(() => expect(agent.assigned).toHaveLength(3))
    await agent.start(agent.assigned[2]!)
    await test.submit({ executor: 'docker_python' })

    const found = await fresh()
    expect(found).toMatchObject({
      slots: { run: { total: 4, taken: 1 } },
      queue: { length: 2 },
      executions: { waiting: 2, running: 1, assigned: 0 },
      last_hour: { ended: 2, outcomes: { succeeded: 1, timed_out: 1, failed: 0 } },
    })
    expect(found.queue.oldest_wait_sec).toBeGreaterThan(0)
    expect(found.last_hour.minutes).toHaveLength(60)
    const lately = found.last_hour.minutes.slice(-2).flatMap(({ outcomes }) => Object.keys(outcomes))
    expect(lately.toSorted()).toEqual(['succeeded', 'timed_out'])
    expect(found.attention.waiting).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          status: 'waiting',
          reason: 'no agent that is online offers docker',
          count: 1,
        }),
        expect.objectContaining({ status: 'waiting', reason: expect.stringContaining('1 of 4'), count: 1 }),
      ]),
    )

    expect(await read(test.keys.admin)).toEqual(found)
    const strangers = await read(test.keys.stranger)
    expect(strangers).toMatchObject({
      as_of: found.as_of,
      agents: { online: 1 },
      queue: { length: 0, oldest_wait_sec: null },
      executions: { waiting: 0, running: 0 },
      last_hour: { ended: 0 },
      attention: { waiting: [] },
    })
    agent.leave()
    gone.leave()
  })

  it('reads a minute that is over once', async () => {
    const { db } = test.parts
    const [clock] = await db.query<{ now: Date }>('select clock_timestamp() as now')
    const query = vi.spyOn(db, 'query')
    const endedLately = createEndedLately(db)
    const later = new Date(clock!.now.getTime() + 30 * minuteMs)
    const found = await endedLately(later)
    const ended = found.flatMap(({ ended }, n) => ended.map(({ count }) => ({ n, count })))
    expect(ended.reduce((sum, { count }) => sum + count, 0)).toBe(2)
    // Half an hour ago, or a minute more.
    for (const { n } of ended) expect([28, 29]).toContain(n)
    expect(query).toHaveBeenCalledTimes(60)
    expect(await endedLately(later)).toEqual(found)
    expect(query).toHaveBeenCalledTimes(62)
    const next = await endedLately(new Date(later.getTime() + minuteMs))
    expect(next.slice(0, -1)).toEqual(found.slice(1))
    expect(query).toHaveBeenCalledTimes(65)
    query.mockRestore()
  })
})
