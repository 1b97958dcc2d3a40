import { sizeLimits, timeConstants } from '@errand/shared'
import { afterAll, beforeEach, describe, expect, it, beforeAll } from 'vitest'
import { setDraining } from './agents.ts'
import { claim } from './claim.ts'
import type { Database } from './database.ts'
import { handBack } from './hand-back.ts'
import { assignedButNotHeld } from './missing.ts'
import { markRunning } from './start.ts'
import { claimAtOnce } from './testing-claimers.ts'
import { testingDatabases } from './testing-databases.ts'
import { held, openScene, type Scene } from './testing-scene.ts'
import { createRenew } from './sessions.ts'
import { revokeAgent } from './revoke-agent.ts'

describe.each(testingDatabases)('claim on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  it('gives the higher priority first, then the older, and no more than there are slots', async () => {
    const low = await scene.submitOne({ priority: -1 })
    const first = await scene.submitOne()
    const second = await scene.submitOne()
    const high = await scene.submitOne({ priority: 1 })
    expect((await scene.claim(3)).map(({ id }) => id)).toEqual([high.id, first.id, second.id])
    expect((await scene.claim(3)).map(({ id }) => id)).toEqual([low.id])
    expect(await scene.claim(3)).toEqual([])
  })

  it('gives what is needed to run it, and a rising fence', async () => {
    const one = await scene.submitAndClaim({ code: 'x', labels: { a: 'b' } })
    const two = await scene.submitAndClaim()
    expect(two.fence).toBeGreaterThan(one.fence)
    expect(one.execution).toEqual(await scene.read(one.id))
    expect(one.execution).toMatchObject({
      status: 'assigned',
      agent_id: scene.agentId,
      epoch: scene.epoch,
      attempt: 0,
    })
    expect(JSON.stringify(one.request)).toHaveLength(one.requestBytes)
  })

  it('leaves an input behind that is too large for the socket', async () => {
    const { request, requestBytes, requestSha256 } = await scene.submitAndClaim({
      code: 'x'.repeat(sizeLimits.socketInput),
    })
    expect(request).toBeNull()
    expect(requestBytes).toBeGreaterThan(sizeLimits.socketInput)
    expect(requestSha256).toMatch(/^[0-9a-f]{64}$/)
  })

  it('gives each job to one of many that ask at once', async () => {
    const ids = await Promise.all(Array.from({ length: 60 }, async () => (await scene.submitOne()).id))
    const given = { agents: 6, queueId: scene.queueId, count: ids.length }
    const claimed = await claimAtOnce(db, claim, given)
    expect(claimed.sort()).toEqual(ids.sort())
  })

  it('gives nothing to an older session, after the lease, to a draining or a revoked agent', async () => {
    await scene.submitOne()
    const { agentId, epoch } = scene
    const given = { agentId, queues: [scene.queueId], slots: 1 }
    await scene.reconnect()
    expect(await claim(db, { ...given, epoch })).toEqual([])
    await setDraining(db, agentId, true)
    expect(await scene.claim(1)).toEqual([])
    await setDraining(db, agentId, false)
    await db.query(`update agents set lease_until = now() - interval '1 second' where id = $1`, [agentId])
    expect(await scene.claim(1)).toEqual([])
    const renew = createRenew(db, timeConstants)
    const sessions = [scene.epoch, epoch, scene.epoch].map((one) => ({ agentId, epoch: one }))
    const now = { serverTimeMs: expect.any(Number), mayMiss: false }
    // The first goes alone, the others together.
    const twice = await Promise.all([...sessions, ...sessions].map(renew))
    expect(twice).toEqual([now, undefined, now, now, undefined, now])
    await revokeAgent(db, agentId, timeConstants)
    expect(await scene.claim(1)).toEqual([])
    expect(await renew({ agentId, epoch: scene.epoch })).toBeUndefined()
  })

  it('gives nothing before its time or after its expiry', async () => {
    const { id } = await scene.submitOne()
    await db.query(`update jobs set expires_at = now() - interval '1 second' where id = $1`, [id])
    expect(await scene.claim(1)).toEqual([])
    await db.query(
      `update jobs set expires_at = null, not_before = now() + interval '1 hour' where id = $1`,
      [id],
    )
    expect(await scene.claim(1)).toEqual([])
    await db.query(`update jobs set not_before = now() where id = $1`, [id])
    expect(await scene.claim(1)).toHaveLength(1)
  })

  it('is committed before a newer session opens, so that its settlement finds it', async () => {
    await scene.submitOne()
    const order: string[] = []
    const opening = await db.transaction(async (tx) => {
      const { agentId, epoch, queueId } = scene
      await claim(tx, { agentId, epoch, queues: [queueId], slots: 1 })
      const opened = scene.reconnect().then(() => order.push('opened'))
      await tx.query('select pg_sleep(0.2)')
      order.push('claimed')
      return { opened }
    })
    await opening.opened
    expect(order).toEqual(['claimed', 'opened'])
  })

  it('is found again when it was lost on its way, with the same fence', async () => {
    const lost = await scene.submitAndClaim()
    const kept = await scene.submitAndClaim()
    const { agentId, epoch } = scene
    const given = {
      agentId,
      epoch,
      held: [held(kept, 'accepted'), { ...held(lost, 'accepted'), fence: lost.fence + 1 }],
    }
    const mayMiss = async (renewEveryMs: number) =>
      (await createRenew(db, { ...timeConstants, renewEveryMs })({ agentId, epoch }))?.mayMiss
    expect(await mayMiss(60_000)).toBe(false)
    expect(await assignedButNotHeld(db, { ...given, olderThanMs: 60_000 })).toEqual([])
    expect(await mayMiss(0)).toBe(true)
    expect(await assignedButNotHeld(db, { ...given, olderThanMs: 0 })).toEqual([lost])
    for (const claimed of [lost, kept]) await markRunning(db, scene.claimOf(claimed))
    expect(await mayMiss(0)).toBe(false)
    expect(await assignedButNotHeld(db, { ...given, olderThanMs: 0 })).toEqual([])
  })

  describe('markRunning', () => {
    it('stores a start once, and counts it as an attempt', async () => {
      const claimed = await scene.submitAndClaim()
      const row = await markRunning(db, scene.claimOf(claimed))
      expect(row).toEqual(await scene.read(claimed.id))
      expect(row).toMatchObject({ status: 'running', attempt: 1 })
      expect(await markRunning(db, scene.claimOf(claimed))).toBeUndefined()
    })

    it('refuses a stale claim', async () => {
      const claimed = scene.claimOf(await scene.submitAndClaim())
      for (const stale of [
        { fence: claimed.fence - 1 },
        { epoch: claimed.epoch - 1 },
        { agentId: claimed.id },
      ])
        expect(await markRunning(db, { ...claimed, ...stale })).toBeUndefined()
    })
  })

  describe('handBack', () => {
    it('leaves the job to others after a second, with the reason', async () => {
      const claimed = scene.claimOf(await scene.submitAndClaim())
      const { verdict, execution } = await handBack(db, { ...claimed, reason: 'disk\0full' })
      expect(verdict).toBe('stored')
      expect(execution).toEqual(await scene.read(claimed.id))
      expect(execution).toMatchObject({
        status: 'waiting',
        waiting_reason: 'disk\uFFFDfull',
        agent_id: null,
        attempt: 0,
      })
      expect(await scene.claim(1)).toEqual([])
      expect(await handBack(db, { ...claimed, reason: '' })).toEqual({ verdict: 'stored' })
    })

    it('refuses a stale claim and one that has started', async () => {
      const claimed = scene.claimOf(await scene.submitAndClaim())
      expect(await handBack(db, { ...claimed, fence: claimed.fence - 1, reason: '' })).toEqual({
        verdict: 'stale',
      })
      await markRunning(db, claimed)
      expect(await handBack(db, { ...claimed, reason: '' })).toEqual({ verdict: 'stale' })
      expect(await scene.read(claimed.id)).toMatchObject({ status: 'running' })
    })
  })
})
