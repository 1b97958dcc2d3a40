import { timeConstants } from '@errand/shared'
import type { RunResult } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { setDraining } from './agents.ts'
import { beat } from './beat.ts'
import { cancel } from './cancel.ts'
import { claim, type Claim } from './claim.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { expireLeases } from './expire.ts'
import { keepProgress } from './keep-progress.ts'
import { lock, mostLocks } from './lock.ts'
import { planParts } from './plan-parts.ts'
import { openSession } from './sessions.ts'
import { settle } from './settle.ts'
import { testingDatabases } from './testing-databases.ts'
import { enrollAgent, openScene, report, type Scene } from './testing-scene.ts'
import { revokeAgent } from './revoke-agent.ts'

const missing = { need: 'runtime.install', reason: 'six==1.17.0 is not installed' } as const
const missingImage = { need: 'docker_image.download', reason: 'its image is not there' } as const
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

    it('knows what an execution needs whatever its code is', async () => {
      const one = await lockOf(await scene.submitAndClaim({ code: '\0', dependencies: ['six==1.17.0'] }))
      const same = await lockOf(await scene.submitAndClaim({ dependencies: ['six==1.17.0'] }))
      expect(one.job).toMatchObject({ status: 'locked', locked_by: same.job!.locked_by })
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

    it('waits for no image where its executor has none: the execution ends', async () => {
      const { job } = await lockOf(await scene.submitAndClaim(), missingImage)
      expect(job).toMatchObject({
        outcome: 'infra_error',
        error: `its image is not there; the executor ${scene.executor.name} has no image`,
      })
    })

    it('is another for another version of an executor with credentials for its registry', async () => {
      scene = await openScene(db, { image: 'any/image:1', registry_auth: { username: 'u', password: 'p' } })
      const one = await lockOf(await scene.submitAndClaim(), missingImage)
      const same = await lockOf(await scene.submitAndClaim(), missingImage)
      await scene.patch({ registry_auth: { username: 'u', password: 'q' } })
      const other = await lockOf(await scene.submitAndClaim(), missingImage)
      expect(same.job!.locked_by).toBe(one.job!.locked_by)
      expect(other.job!.locked_by).not.toBe(one.job!.locked_by)
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

    it('is made on as many agents as lack it, where others than that to which it was brought have slots', async () => {
      const { id } = await scene.submitOne()
      for (let n = 0; n <= mostLocks; n++) {
        const [claimed] = await scene.claim(1)
        expect(await lockOf(claimed!)).toMatchObject({ job: { id, status: 'locked' } })
        await finishPart((await claimParts())[0]!)
        await settled()
        await db.query('update jobs set preferred_until = now() where id = $1', [id])
        await scene.useOtherAgent()
      }
    })
  })

  describe('the end of what was waited for', () => {
    it('lets the executions go on, on the agent that has it and for a while on no other', async () => {
      const waiting = [await scene.submitAndClaim(), await scene.submitAndClaim()]
      for (const one of waiting) await lockOf(one)
      await finishPart((await claimParts())[0]!)
      const freed = await settled()
      expect(new Set(freed.map(({ id, status }) => `${id} ${status}`))).toEqual(
        new Set(waiting.map(({ id }) => `${id} waiting`)),
      )
      expect(await claimElsewhere()).toEqual([])
      expect(await scene.claim(1)).toHaveLength(1)
      await db.query(`update jobs set preferred_until = now() where id = $1`, [waiting[1]!.id])
      expect(await claimElsewhere()).toMatchObject([{ id: waiting[1]!.id }])
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

  describe('a job that callers ask for', () => {
    // Agents of other tests would serve it, too.
    const own = () => scene.patch({ agent_labels: { only: scene.agentId } })
    const carry = async () => {
      const backends = { localhost: { available: true, isolation: null, missing: [] } }
      await db.query(
        `update agents set labels = jsonb_build_object('only', id), report = $2::text::jsonb where id = $1`,
        [scene.agentId, JSON.stringify({ ...report, backends })],
      )
    }

    it('has a part for each agent that serves its executor, and shares that with executions', async () => {
      await own()
      const asked = await scene.ask('runtime.install')
      await carry()
      const locked = await lockOf(await scene.submitAndClaim())
      expect(await planned()).toMatchObject([
        { id: asked.id, status: 'locked', locked_by: locked.job!.locked_by },
      ])
      expect(await settled()).toEqual([])
      await finishPart((await claimParts())[0]!)
      expect(new Set((await settled()).map(({ id, status }) => `${id} ${status}`))).toEqual(
        new Set([`${asked.id} completed`, `${locked.job!.id} waiting`]),
      )
    })

    it('waits for such an agent and says so, however many wait before it', async () => {
      await scene.patch({ agent_labels: { only: 'nobody' } })
      const before = await scene.ask('runtime.install')
      await db.query(
        `with more as (
           insert into jobs (id, type, status, project, key_id, queue_id, executor_id, executor_name, executor_type, config_id,
             runtime, max_attempts, limits, required_limits, labels, created_at)
           select gen_random_uuid(), type, status, project, key_id, queue_id, executor_id, executor_name, executor_type,
             config_id, runtime, max_attempts, limits, required_limits, labels, created_at
           from jobs, generate_series(1, 1100) where id = $1 returning id
         ) insert into maintenance_jobs (id, params) select id, '{}' from more`,
        [before.id],
      )
      await own()
      await carry()
      const { id } = await scene.ask('runtime.install')
      const changed = await planned()
      expect(changed).toHaveLength(1_102)
      expect(changed.filter(({ waiting_reason }) => waiting_reason?.includes('only=nobody'))).toHaveLength(
        1_101,
      )
      expect(changed.at(-1)).toMatchObject({ id, status: 'locked' })
      expect(await planned()).toEqual([])
      await db.query(
        `update jobs set status = 'canceled', outcome = 'canceled', ended_at = now()
        where project = $1 and status = 'waiting'`,
        [scene.project],
      )
    })

    it('shares no part that is being canceled, and says so', async () => {
      await own()
      await carry()
      const { job } = await lockOf(await scene.submitAndClaim())
      const [part] = await claimParts()
      await cancel(db, { id: job!.locked_by!, project: null })
      const asked = await scene.ask('runtime.install')
      expect(await planned()).toMatchObject([
        {
          id: asked.id,
          status: 'waiting',
          waiting_reason: 'the same is being canceled on one of its agents',
        },
      ])
      await finishPart(part!, { outcome: 'canceled' })
      expect(await planned()).toMatchObject([{ id: asked.id, status: 'locked' }])
    })

    it('is refused when there is nothing to bring', async () => {
      await own()
      await carry()
      const asked = await scene.ask('docker_image.download')
      expect(await planned()).toMatchObject([
        { id: asked.id, outcome: 'rejected', error: `the executor ${scene.executor.name} has no image` },
      ])
    })

    it.each([
      ['canceled', 'canceled', 'canceled'],
      ['rejected', 'failed', 'rejected'],
      ['timed_out', 'failed', 'infra_error'],
      // As no agent tells that is right in its mind.
      ['failed', 'failed', 'infra_error'],
      ['output_limit', 'failed', 'infra_error'],
    ] as const)('ends when its part is %s', async (told, status, outcome) => {
      await own()
      await carry()
      const { id } = await scene.ask('runtime.install')
      await planned()
      await finishPart((await claimParts())[0]!, { outcome: told, phase: 'run', error: 'so it is' })
      expect(await settled()).toMatchObject([
        { id, status, outcome, error: expect.stringMatching(/^agent-.*: so it is$/) },
      ])
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

  describe('whose agent takes nothing more', () => {
    const endLease = () =>
      db.query(`update agents set lease_until = now() - interval '1 hour' where id = $1`, [scene.agentId])
    const beatOwn = async () =>
      (await beat(db, scene.time)).filter(({ project }) => project === scene.project)
    beforeEach(() => db.query('update control set api_alive_at = now(), expiry_stands_until = null'))

    it('is lost when that does not come back, and any other may have who waited for it', async () => {
      const claimed = await scene.submitAndClaim()
      const { job } = await lockOf(claimed)
      expect(await beatOwn()).toEqual([])
      await endLease()
      expect(await beatOwn()).toMatchObject([
        { id: job!.locked_by, outcome: 'lost', error: 'its agent has not come back' },
      ])
      expect(await settled()).toMatchObject([{ id: claimed.id, status: 'waiting' }])
      expect(await claimElsewhere()).toMatchObject([{ id: claimed.id }])
    })

    it('is lost when that was revoked, also where it waits for another itself', async () => {
      scene = await openScene(db, { image: 'any/image:1' })
      const claimed = await scene.submitAndClaim()
      await lockOf(claimed)
      const [installation] = await claimParts()
      const { job } = await lockOf(installation!, missingImage)
      await revokeAgent(db, scene.agentId, timeConstants)
      const lost = await beatOwn()
      expect(new Set(lost.map(({ id, outcome }) => `${id} ${outcome}`))).toEqual(
        new Set([installation!.id, job!.locked_by].map((id) => `${id} lost`)),
      )
      expect(await settled()).toMatchObject([{ id: claimed.id, status: 'waiting' }])
    })

    it('is not lost by an outage in which no agent could renew', async () => {
      const { job } = await lockOf(await scene.submitAndClaim())
      await endLease()
      await db.query(`update control set api_alive_at = now() - interval '1 hour'`)
      expect(await beatOwn()).toEqual([])
      expect(await beatOwn()).toEqual([])
      expect(await settled()).toEqual([])
      expect(await scene.read(job!.locked_by!)).toMatchObject({ status: 'waiting' })
    })

    it('is waited for no more while that is draining, and canceled, unless it has begun', async () => {
      const claimed = await scene.submitAndClaim()
      const { job } = await lockOf(claimed)
      const begun = await lockOf(await scene.submitAndClaim({ dependencies: ['six==1.17.0'] }))
      // The other comes later.
      await db.query(`update jobs set not_before = now() + interval '1 hour' where id = $1`, [job!.locked_by])
      expect(await claimParts()).toMatchObject([{ id: begun.job!.locked_by }])
      await setDraining(db, scene.agentId, true)
      expect(await settled()).toMatchObject([
        { id: claimed.id, status: 'waiting', locked_by: null },
        { id: job!.locked_by, outcome: 'canceled' },
      ])
      expect(await claimElsewhere()).toMatchObject([{ id: claimed.id }])
      expect(await scene.read(begun.job!.id)).toMatchObject({ status: 'locked' })
    })
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

  function lockOf(of: Pick<Claim, 'id' | 'fence'>, lacking: typeof missing | typeof missingImage = missing) {
    return lock(db, { ...scene.claimOf(of), ...lacking })
  }

  async function planned(): Promise<ExecutionRow[]> {
    return (await planParts(db)).filter(({ project }) => project === scene.project)
  }

  /** By an agent that has just come. */
  async function claimElsewhere(): Promise<Claim[]> {
    const agentId = await enrollAgent(db)
    const session = await openSession(db, { ...ids, agentId, report, leaseMs: 60_000 })
    if (typeof session === 'string') throw new Error(session)
    return claim(db, { agentId, epoch: session.epoch, queues: [scene.queueId], slots: 2 })
  }

  /** Of this scene alone: other tests may have left some. */
  async function settled(): Promise<ExecutionRow[]> {
    const changed = await settle(db, { preferAgentMs: 600_000 })
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
