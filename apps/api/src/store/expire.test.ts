import { timeConstants } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { appendOutput } from './append-output.ts'
import { beat } from './beat.ts'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { readExecution } from './read-execution.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'
import { revokeAgent } from './revoke-agent.ts'

describe.each(testingDatabases)('beat on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
    await db.query('update control set api_alive_at = now(), expiry_stands_until = null')
  })
  afterAll(() => db.close())

  const endLease = () =>
    db.query(`update agents set lease_until = now() - interval '1 second' where id = $1`, [scene.agentId])
  /** Only this test's own: retries of others may be due too. */
  const beatNow = async () => (await beat(db, scene.time)).filter(({ project }) => project === scene.project)

  it('ends what the agent held when its lease has run out, and says why', async () => {
    const assigned = await scene.submitAndClaim()
    const running = await scene.submitAndClaim()
    const canceling = await scene.submitAndClaim()
    const retried = await scene.submitAndClaim({ retry: { max_attempts: 2 } })
    await markRunning(db, scene.claimOf(running))
    await cancel(db, { id: canceling.id, project: null })
    expect(await beatNow()).toEqual([])
    await endLease()
    const changed = new Map((await beatNow()).map((row) => [row.id, row]))
    const error = 'its agent did not renew its lease'
    expect(changed.get(assigned.id)).toMatchObject({
      outcome: 'lost',
      attempt: 1,
      error,
      agent_id: scene.agentId,
    })
    expect(changed.get(running.id)).toMatchObject({ outcome: 'lost', attempt: 1, error })
    expect(changed.get(running.id)!.start_time_ms).toBeGreaterThan(0)
    expect(changed.get(canceling.id)).toMatchObject({ outcome: 'canceled', error })
    expect(changed.get(retried.id)).toMatchObject({ status: 'retrying', attempt: 1, error })
    for (const row of changed.values()) expect(row).toEqual(await scene.read(row.id))
    expect((await scene.finish(scene.finishItem(assigned))).verdict).toBe('stale')
  })

  it('keeps the output of what was lost', async () => {
    const claimed = await scene.submitAndClaim()
    await markRunning(db, scene.claimOf(claimed))
    await appendOutput(db, {
      ...scene.claimOf(claimed),
      stream: 'stdout',
      offset: 0,
      bytes: Uint8Array.of(0, 255),
    })
    await endLease()
    await beatNow()
    const row = await readExecution(db, { id: claimed.id, project: null })
    expect(row).toMatchObject({ outcome: 'lost', stdout_bytes: 2, stderr_bytes: 0 })
    expect(new Uint8Array(row!.stdout!)).toEqual(Uint8Array.of(0, 255))
  })

  it('stands still after a gap in which no API could take renewals', async () => {
    const claimed = await scene.submitAndClaim()
    await endLease()
    await db.query(`update control set api_alive_at = now() - interval '1 minute'`)
    expect(await beatNow()).toEqual([])
    expect(await beatNow()).toEqual([])
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'assigned' })
    await db.query(`update control set expiry_stands_until = now() - interval '1 millisecond'`)
    expect(await beatNow()).toMatchObject([{ id: claimed.id, outcome: 'lost' }])
  })

  it('expires nothing twice when replicas beat at once', async () => {
    await scene.submitAndClaim()
    await endLease()
    const changed = await Promise.all([beatNow(), beatNow(), beatNow()])
    expect(changed.flat()).toHaveLength(1)
  })

  it('ends the jobs of an agent as it is revoked, and takes nothing from it any more (AU-08)', async () => {
    const claim = await scene.submitAndClaim()
    const ended = await revokeAgent(db, scene.agentId, timeConstants)
    expect(ended).toMatchObject([{ id: claim.id, outcome: 'lost', error: 'its agent was revoked' }])
    const { id, fence } = claim
    const of = { id, fence, agentId: scene.agentId, epoch: scene.epoch }
    const bytes = new TextEncoder().encode('x')
    expect(await appendOutput(db, { ...of, stream: 'stdout', offset: 0, bytes })).toMatchObject({
      verdict: 'stale',
    })
    expect(await scene.finish(scene.finishItem(claim))).toMatchObject({ verdict: 'stale' })
    expect(await beatNow()).toEqual([])
  })

  it('cancels by itself what a living agent does not', async () => {
    const { id } = await scene.submitAndClaim()
    await cancel(db, { id, project: null })
    expect(await beatNow()).toEqual([])
    await db.query(`update jobs set cancel_requested_at = now() - interval '1 hour' where id = $1`, [id])
    expect(await beatNow()).toMatchObject([
      { id, outcome: 'canceled', error: 'its agent did not answer the cancel' },
    ])
  })

  it('rejects what waited for longer than its caller wanted, and says what it waited for', async () => {
    const { id } = await scene.submitOne({ expires_in_sec: 0.001 })
    const patient = await scene.submitOne({ expires_in_sec: 600 })
    let changed: Awaited<ReturnType<typeof beat>> = []
    await expect.poll(async () => (changed = await beatNow()).length).toBe(1)
    expect(changed).toEqual([await scene.read(id)])
    const error = 'waited longer than expires_in_sec; last: no agent that is online offers localhost'
    expect(changed).toMatchObject([{ status: 'failed', outcome: 'rejected', error, attempt: 0 }])
    expect(await scene.read(patient.id)).toMatchObject({ status: 'waiting' })
  })

  it('gives up on a job that has cost its agents three claims', async () => {
    const { id } = await scene.submitOne({ retry: { max_attempts: 10 } })
    for (let claims = 1; claims <= 3; claims++) {
      await expect.poll(async () => (await beatNow(), (await scene.claim(1)).length)).toBe(1)
      await endLease()
      const [changed] = await beatNow()
      expect(changed).toMatchObject({ id, status: claims < 3 ? 'retrying' : 'failed', attempt: claims })
      await scene.reconnect()
    }
    expect(await scene.read(id)).toMatchObject({
      outcome: 'infra_error',
      error: expect.stringContaining('3 times'),
    })
  })

  it('lets no lease and no stand-still last longer because the clock was set back', async () => {
    await db.query(`update control set expiry_stands_until = now() + interval '1 hour'`)
    await db.query(`update agents set lease_until = now() + interval '1 hour' where id = $1`, [scene.agentId])
    await beatNow()
    const [row] = await db.query<{ lease: number; stands: number }>(
      `select (extract(epoch from a.lease_until - now()) * 1000)::float8 as lease,
         (extract(epoch from c.expiry_stands_until - now()) * 1000)::float8 as stands
       from agents a, control c where a.id = $1`,
      [scene.agentId],
    )
    expect(row!.lease).toBeLessThanOrEqual(scene.time.leaseMs)
    expect(row!.stands).toBeLessThanOrEqual(scene.time.standStillMs)
  })

  it('gives each retry the time to wait for an agent that its caller gave the first', async () => {
    const { id } = await scene.submitAndClaim({ expires_in_sec: 60, retry: { max_attempts: 3 } })
    const age = `update jobs set created_at = now() - interval '100 seconds', not_before = now() where id = $1`
    for (let retry = 1; retry <= 2; retry++) {
      await endLease()
      await beatNow()
      await db.query(age, [id])
      await beatNow()
      const { status, expires_at } = await scene.read(id)
      expect(status).toBe('waiting')
      expect(expires_at!.getTime() - Date.now()).toBeLessThanOrEqual(60_000)
      await scene.reconnect()
      await scene.claim(1)
    }
  })

  it('waits longer, at most, before each further attempt', async () => {
    const times = { ...scene.time, retryMinMs: 10_000, retryMaxMs: 30_000 }
    const { id } = await scene.submitOne({ retry: { max_attempts: 10 } })
    for (const most of [10_000, 20_000]) {
      await db.query(
        `update jobs set status = 'waiting', not_before = null where id = $1 and status = 'retrying'`,
        [id],
      )
      await scene.claim(1)
      await endLease()
      const [{ not_before } = { not_before: null }] = await beat(db, times)
      const [{ now }] = (await db.query('select now()')) as [{ now: Date }]
      expect(not_before!.getTime() - now.getTime()).toBeLessThanOrEqual(most)
      await scene.reconnect()
    }
  })
})
