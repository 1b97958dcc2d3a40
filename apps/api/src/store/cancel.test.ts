import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { handBack } from './hand-back.ts'
import { lock } from './lock.ts'
import { newId } from './new-id.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'
import { unansweredCancels } from './unanswered-cancels.ts'

describe.each(testingDatabases)('cancel on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  it('ends a waiting job at once, and says so again', async () => {
    const { id } = await scene.submitOne()
    const first = await cancel(db, { id, project: scene.project })
    const stored = await scene.read(id)
    expect(stored).toMatchObject({
      status: 'canceled',
      outcome: 'canceled',
      attempt: 0,
      agent_id: null,
      stdout_bytes: 0,
    })
    expect(first).toEqual({ kind: 'canceled', execution: stored, was: 'waiting' })
    expect(await cancel(db, { id, project: scene.project })).toEqual({
      kind: 'already_canceled',
      execution: stored,
    })
  })

  it('asks the agent that holds it, as often as it is told to', async () => {
    const claimed = await scene.submitAndClaim()
    const asked = { kind: 'canceling', agentId: scene.agentId, fence: claimed.fence }
    expect(await cancel(db, { id: claimed.id, project: null })).toMatchObject(asked)
    expect(await cancel(db, { id: claimed.id, project: null })).toMatchObject(asked)
    const running = await scene.submitAndClaim()
    await markRunning(db, scene.claimOf(running))
    expect(await cancel(db, { id: running.id, project: null })).toMatchObject({
      kind: 'canceling',
      execution: { status: 'canceling' },
    })
    const unanswered = await unansweredCancels(db, { olderThanMs: 0 })
    expect(unanswered).toContainEqual({ id: running.id, fence: running.fence, agentId: scene.agentId })
    expect(await unansweredCancels(db, { olderThanMs: 60_000 })).toEqual([])
  })

  it('is canceled when its agent hands it back unstarted', async () => {
    const claimed = scene.claimOf(await scene.submitAndClaim())
    await cancel(db, { id: claimed.id, project: null })
    const { verdict, execution } = await handBack(db, { ...claimed, reason: 'no slot' })
    expect(verdict).toBe('stored')
    expect(execution).toEqual(await scene.read(claimed.id))
    expect(execution).toMatchObject({ status: 'canceled', attempt: 0 })
  })

  it('tells how a final job ended, and knows nothing of other projects', async () => {
    const claimed = await scene.submitAndClaim()
    await scene.finish(scene.finishItem(claimed))
    expect(await cancel(db, { id: claimed.id, project: null })).toEqual({
      kind: 'final',
      status: 'completed',
    })
    expect(await cancel(db, { id: claimed.id, project: 'elsewhere' })).toEqual({ kind: 'not_found' })
    expect(await cancel(db, { id: newId(), project: null })).toEqual({ kind: 'not_found' })
  })

  describe('of a job that others wait for', () => {
    const missing = { need: 'runtime.install', reason: 'six is not installed' } as const

    /** An execution of this project that waits for a job, whose id is answered. */
    async function locked(project = scene.project): Promise<string> {
      const { id } = await scene.submitOne({}, { project })
      const [claimed] = await scene.claim(1)
      expect(claimed!.id).toBe(id)
      const { job } = await lock(db, { ...scene.claimOf(claimed!), ...missing })
      return job!.locked_by!
    }

    it('is up to its project as long as nobody else does', async () => {
      const id = await locked()
      expect(await locked()).toBe(id)
      expect(await cancel(db, { id, project: 'elsewhere' })).toEqual({ kind: 'forbidden' })
      expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
      expect(await cancel(db, { id, project: scene.project })).toMatchObject({ kind: 'canceled' })
      // What has ended may be told to everybody
      expect(await cancel(db, { id, project: 'elsewhere' })).toMatchObject({ kind: 'already_canceled' })
    })

    it('is up to an admin when another project waits, too', async () => {
      const id = await locked()
      expect(await locked('elsewhere')).toBe(id)
      expect(await cancel(db, { id, project: scene.project })).toEqual({ kind: 'forbidden' })
      expect(await cancel(db, { id, project: null })).toMatchObject({ kind: 'canceled' })
    })

    it('finds no job of another type than it was asked for', async () => {
      const id = await locked()
      const type = 'code.execute'
      expect(await cancel(db, { id, project: null, type })).toEqual({ kind: 'not_found' })
      expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
    })
  })

  it('and a claim at the same moment leave the job either canceled or asked to end', async () => {
    for (let round = 0; round < 20; round++) {
      const { id } = await scene.submitOne()
      const [answer, [claimed]] = await Promise.all([cancel(db, { id, project: null }), scene.claim(1)])
      const { status } = await scene.read(id)
      expect(status).toBe(claimed === undefined ? 'canceled' : 'canceling')
      expect(answer.kind).toBe(status)
    }
  })
})
