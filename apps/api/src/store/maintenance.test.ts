import type { RunResult } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { beat } from './beat.ts'
import { cancel } from './cancel.ts'
import { claim, type Claim } from './claim.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { expireLeases } from './expire.ts'
import { keepProgress } from './keep-progress.ts'
import { lock, mostLocks } from './lock.ts'
import { openSession } from './sessions.ts'
import { settle } from './settle.ts'
import { testingDatabases } from './testing-databases.ts'
import { enrollAgent, openScene, report, type Scene } from './testing-scene.ts'

const missing = { need: 'runtime.install', reason: 'six==1.17.0 is not installed' } as const
const ids = { bootId: 'boot', spoolId: 'spool' }
const brought = { digest: null, bytes: 7, already_there: false, took_ms: 5 }

describe.each(testingDatabases)('maintenance on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())
  beforeEach(async () => {
    scene = await openScene(db)
  })

  describe('a lock', () => {
    it('leaves its execution without agent and slot, waiting for a job that its agent can claim', async () => {
      const claimed = await scene.submitAndClaim()
      const { verdict, job } = await lockOf(claimed)
      expect(verdict).toBe('stored')
      expect(job).toMatchObject({
        status: 'locked',
        agent_id: null,
        waiting_reason: missing.reason,
        attempt: 0,
      })
      const [part] = await claimParts()
      expect(part).toMatchObject({
        id: job!.locked_by,
        request: { code_executor: scene.executor.name, runtime: 'python', dependencies: [] },
        execution: { type: 'runtime.install', agent_id: scene.agentId, limits: { timeout_sec: 1_800 } },
      })
    })

    it('is the same for all who need the same, and another for who needs something else', async () => {
      const one = await lockOf(await scene.submitAndClaim())
      const same = await lockOf(await scene.submitAndClaim())
      const other = await lockOf(await scene.submitAndClaim({ dependencies: ['six==1.17.0'] }))
      expect(same.job!.locked_by).toBe(one.job!.locked_by)
      expect(other.job!.locked_by).not.toBe(one.job!.locked_by)
    })

    it('is made once, of however many that come at the same moment', async () => {
      await Promise.all(Array.from({ length: 8 }, () => scene.submitOne()))
      const claimed = await scene.claim(8)
      const locked = await Promise.all(claimed.map((one) => lockOf(one)))
      expect(new Set(locked.map(({ job }) => job!.locked_by)).size).toBe(1)
      expect(await claimParts()).toHaveLength(1)
    })

    it('is stored once when it is told twice, and not at all by a stale claim', async () => {
      const claimed = await scene.submitAndClaim()
      await lockOf(claimed)
      expect(await lockOf(claimed)).toEqual({ verdict: 'stored' })
      expect(await lockOf({ ...claimed, fence: claimed.fence + 1_000_000 })).toEqual({ verdict: 'stale' })
      expect(await scene.read(claimed.id)).toMatchObject({ status: 'locked' })
    })

    it('is not taken by an execution that is to be canceled: it is canceled', async () => {
      const claimed = await scene.submitAndClaim()
      await cancel(db, { id: claimed.id, project: null })
      expect((await lockOf(claimed)).job).toMatchObject({ status: 'canceled' })
    })

    it('waits for no job that is being canceled: the execution is claimed again', async () => {
      const one = await lockOf(await scene.submitAndClaim())
      await claimParts()
      await cancel(db, { id: one.job!.locked_by!, project: null })
      expect((await lockOf(await scene.submitAndClaim())).job).toMatchObject({ status: 'waiting' })
    })

    it('has no cycle: what is installed waits for nothing that is installed, and a download for nothing', async () => {
      await lockOf(await scene.submitAndClaim())
      const [part] = await claimParts()
      expect((await lockOf(part!)).job).toMatchObject({ status: 'waiting', locked_by: null })
    })

    it('ends the execution when what it needs was brought and is missing again and again', async () => {
      const { id } = await scene.submitOne()
      for (let n = 0; n < mostLocks; n++) {
        const [claimed] = await scene.claim(1)
        await lockOf(claimed!)
        await finishPart((await claimParts())[0]!)
        await settled()
      }
      const [claimed] = await scene.claim(1)
      expect((await lockOf(claimed!)).job).toMatchObject({
        id,
        outcome: 'infra_error',
        error: `${missing.reason}, although it was brought ${mostLocks} times`,
      })
    })
  })

  describe('the end of what was waited for', () => {
    it('lets the executions go on, on the agent that has it and for a while on no other', async () => {
      const waiting = [await scene.submitAndClaim(), await scene.submitAndClaim()]
      for (const one of waiting) await lockOf(one)
      await finishPart((await claimParts())[0]!)
      const freed = await settled()
      expect(freed.map(({ id, status }) => [id, status])).toEqual(waiting.map(({ id }) => [id, 'waiting']))
      const other = await enrollAgent(db)
      const session = await openSession(db, { ...ids, agentId: other, report, leaseMs: 60_000 })
      if (typeof session === 'string') throw new Error(session)
      const claimOther = () =>
        claim(db, { agentId: other, epoch: session.epoch, queues: [scene.queueId], slots: 2 })
      expect(await claimOther()).toEqual([])
      expect(await scene.claim(1)).toHaveLength(1)
      await db.query(`update jobs set preferred_until = now() where id = $1`, [waiting[1]!.id])
      expect(await claimOther()).toHaveLength(1)
    })

    it.each([
      ['fails', { outcome: 'rejected', error: 'no such package' }, 'no such package'],
      ['takes too long', { outcome: 'timed_out', error: null }, 'that took too long'],
      ['is canceled', { outcome: 'canceled', error: null }, 'that was canceled'],
    ] as const)('ends them with the cause when it %s', async (_how, result, cause) => {
      const claimed = await scene.submitAndClaim({ retry: { max_attempts: 3 } })
      await lockOf(claimed)
      await finishPart((await claimParts())[0]!, result)
      const [ended] = await settled()
      expect(ended).toMatchObject({
        id: claimed.id,
        status: 'failed',
        outcome: 'infra_error',
        error: `its dependencies were not installed: ${cause}`,
      })
      expect(await scene.read(claimed.id)).toMatchObject({ outcome: 'infra_error', stdout_bytes: 0 })
    })

    it('is kept when nobody settles at once: any replica does later', async () => {
      const claimed = await scene.submitAndClaim()
      await lockOf(claimed)
      await finishPart((await claimParts())[0]!)
      expect(await scene.read(claimed.id)).toMatchObject({ status: 'locked' })
      const [first, second] = await Promise.all([settled(), settled()])
      expect([...first, ...second].map(({ id }) => id)).toEqual([claimed.id])
    })

    it('is kept with the attempts before it, their errors, its log and what it brought', async () => {
      await lockOf(await scene.submitAndClaim())
      const [part] = await claimParts()
      await finishPart(part!, { outcome: 'infra_error', error: 'the connection was cut' }, 'first\n')
      expect(await scene.read(part!.id)).toMatchObject({ status: 'retrying', attempt: 1 })
      await wake(part!.id)
      const [again] = await claimParts()
      await keepProgress(db, {
        ...scene.claimOf(again!),
        progress: { phase: 'installing', bytes_done: 5, bytes_total: 10, percent: 50, bytes_per_sec: 1 },
      })
      await finishPart(again!, {}, 'second\n')
      const attempts = await db.query('select attempt, outcome, error from job_attempts where job_id = $1', [
        part!.id,
      ])
      expect(attempts).toEqual([{ attempt: 1, outcome: 'infra_error', error: 'the connection was cut' }])
      const log = await db.query<{ bytes: Uint8Array }>(
        'select bytes from execution_output where execution_id = $1 order by fence',
        [part!.id],
      )
      expect(log.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(['first\n', 'second\n'])
      const [kept] = await db.query('select brought, progress from maintenance_jobs where id = $1', [
        part!.id,
      ])
      expect(kept).toMatchObject({ brought, progress: { percent: 50 } })
      expect(await scene.read(part!.id)).toMatchObject({
        status: 'completed',
        outcome: 'succeeded',
        attempt: 2,
      })
    })
  })

  describe('progress', () => {
    it('is kept of the current claim only, and its percentage does not fall with a new attempt', async () => {
      await lockOf(await scene.submitAndClaim())
      const [part] = await claimParts()
      const progress = {
        phase: 'downloading',
        bytes_done: 6,
        bytes_total: 10,
        percent: 60,
        bytes_per_sec: 1,
      } as const
      expect(await keepProgress(db, { ...scene.claimOf(part!), progress })).toEqual(progress)
      await finishPart(part!, { outcome: 'infra_error', error: 'cut' })
      await wake(part!.id)
      const [again] = await claimParts()
      expect(await keepProgress(db, { ...scene.claimOf(part!), progress })).toBeUndefined()
      const anew = { ...progress, bytes_done: 1, percent: 10 }
      expect(await keepProgress(db, { ...scene.claimOf(again!), progress: anew })).toEqual({
        ...anew,
        percent: 60,
      })
      const unknown = { ...progress, bytes_total: null, percent: null }
      expect(await keepProgress(db, { ...scene.claimOf(again!), progress: unknown })).toMatchObject({
        percent: 60,
      })
    })
  })

  describe('what nobody waits for any more', () => {
    it('is canceled with its last waiter, and not before', async () => {
      const [one, other] = [await scene.submitAndClaim(), await scene.submitAndClaim()]
      await lockOf(one)
      await lockOf(other)
      const [part] = await claimParts()
      await cancel(db, { id: one.id, project: null })
      expect(await settled()).toEqual([])
      await cancel(db, { id: other.id, project: null })
      expect(await settled()).toMatchObject([{ id: part!.id, status: 'canceling' }])
    })

    it('is canceled at once where its agent has not begun', async () => {
      const claimed = await scene.submitAndClaim()
      const { job } = await lockOf(claimed)
      await cancel(db, { id: claimed.id, project: null })
      expect(await settled()).toMatchObject([{ id: job!.locked_by, status: 'canceled' }])
      // Another may be made for the next who needs it.
      expect((await lockOf(await scene.submitAndClaim())).job!.locked_by).not.toBe(job!.locked_by)
    })

    it('is wanted by an execution that is about to wait for it, whatever is settled meanwhile', async () => {
      for (let n = 0; n < 10; n++) {
        const first = await scene.submitAndClaim()
        await lockOf(first)
        const second = await scene.submitAndClaim()
        await cancel(db, { id: first.id, project: null })
        const [, { job }] = await Promise.all([settled(), lockOf(second)])
        if (job!.status !== 'locked') continue
        expect(await scene.read(job!.locked_by!)).toMatchObject({ status: 'waiting' })
        await cancel(db, { id: second.id, project: null })
        await settled()
      }
    })
  })

  it('is lost when its agent does not come back', async () => {
    const claimed = await scene.submitAndClaim()
    const { job } = await lockOf(claimed)
    expect(await settled()).toEqual([])
    await db.query(`update agents set lease_until = now() - interval '1 hour' where id = $1`, [scene.agentId])
    expect(await settled()).toMatchObject([
      { id: job!.locked_by, outcome: 'lost', error: 'its agent has not come back' },
      { id: claimed.id, outcome: 'infra_error' },
    ])
  })

  it('is retried when its agent dies in the middle, and nothing that waits for it is lost', async () => {
    const claimed = await scene.submitAndClaim()
    await lockOf(claimed)
    const [part] = await claimParts()
    await db.query(`update agents set lease_until = now() - interval '1 second' where id = $1`, [
      scene.agentId,
    ])
    await expireLeases(db, scene.time)
    expect(await scene.read(part!.id)).toMatchObject({ status: 'retrying', attempt: 1 })
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'locked' })
    await scene.reconnect()
    await wake(part!.id)
    await finishPart((await claimParts())[0]!)
    expect(await settled()).toMatchObject([{ id: claimed.id, status: 'waiting' }])
  })

  function lockOf(of: Pick<Claim, 'id' | 'fence'>) {
    return lock(db, { ...scene.claimOf(of), ...missing })
  }

  /** Of this scene alone: other tests may have left some. */
  async function settled(): Promise<ExecutionRow[]> {
    const changed = await settle(db, { lostAfterMs: 600_000, preferAgentMs: 600_000 })
    return changed.filter(({ executor_id }) => executor_id === scene.executor.executor_id)
  }

  async function claimParts(): Promise<Claim[]> {
    const queues = await db.query<{ id: number }>('select id from queues where agent_id = $1', [
      scene.agentId,
    ])
    return claim(db, {
      agentId: scene.agentId,
      epoch: scene.epoch,
      queues: queues.map(({ id }) => id),
      slots: 10,
    })
  }

  async function finishPart(part: Claim, result: Partial<RunResult> = {}, log = '') {
    const item = scene.finishItem(part, { brought, ...result }, { stdout: Buffer.from(log) })
    const { verdict } = await scene.finish(item)
    expect(verdict).toBe('stored')
  }

  /** Its retry is due. */
  async function wake(id: string) {
    await db.query(`update jobs set not_before = now() where id = $1`, [id])
    await beat(db, scene.time)
  }
})
