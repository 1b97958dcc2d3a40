import { localhostExecutor } from '@errand/shared'
import { z } from 'zod'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSecrets } from '../secrets/secrets.ts'
import { setDraining } from './agents.ts'
import { cancel } from './cancel.ts'
import { claim } from './claim.ts'
import { createClaimWithinLimits } from './claim-within-limits.ts'
import type { Database } from './database.ts'
import { patchExecutor } from './executors.ts'
import { handBack } from './hand-back.ts'
import { createQueueFor } from './queues.ts'
import { openSession } from './sessions.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { enrollAgent, openScene, report, type Scene } from './testing-scene.ts'

describe.each(testingDatabases)('max_concurrency on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  const claimFrom = (scene: Scene, slots: number, more: { free?: number[]; limited?: number[] } = {}) => {
    const { agentId, epoch, queueId } = scene
    return createClaimWithinLimits(db)({ agentId, epoch, free: [], limited: [queueId], slots, ...more })
  }
  const idsOf = (claims: readonly { id: string }[]) => claims.map(({ id }) => id)

  async function submitMany(scene: Scene, count: number): Promise<string[]> {
    const ids: string[] = []
    for (let n = 0; n < count; n++) ids.push((await scene.submitOne()).id)
    return ids
  }

  it('lets no more be held at once, by however many that claim together, and all of them run in the end', async () => {
    const limit = 3
    const scene = await openScene(db, { max_concurrency: limit })
    const waiting = new Set(await submitMany(scene, 40))
    const agents = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const agentId = await enrollAgent(db)
        const session = await openSession(db, { agentId, bootId: 'b', spoolId: 's', report, leaseMs: 60_000 })
        // Each as another replica would
        const claimOf = createClaimWithinLimits(db)
        return { agentId, epoch: (session as { epoch: number }).epoch, claimOf }
      }),
    )
    const claimTogether = () =>
      Promise.all(
        agents.map(async ({ agentId, epoch, claimOf }) => {
          const claims = await claimOf({ agentId, epoch, free: [], limited: [scene.queueId], slots: 2 })
          return claims.map(({ id, fence }) => ({ id, fence, agentId, epoch }))
        }),
      )
    const held = (await claimTogether()).flat()
    expect(held).toHaveLength(limit)
    while (held.length > 0) {
      for (const { id } of held) waiting.delete(id)
      const [ended] = held.splice(0, 1)
      const [claims] = await Promise.all([
        claimTogether(),
        scene.finish({ ...scene.finishItem(ended!), ...ended! }),
      ])
      held.push(...claims.flat())
      expect(held.length).toBeLessThanOrEqual(limit)
      // Those that looked before the end had been stored
      held.push(...(await claimTogether()).flat())
      expect(held).toHaveLength(Math.min(limit, held.length + waiting.size))
    }
    expect(waiting.size).toBe(0)
  })

  it('counts what is assigned, running or being canceled, and nothing else', async () => {
    const scene = await openScene(db, { max_concurrency: 2 })
    await submitMany(scene, 5)
    const [one, two, beyond] = await claimFrom(scene, 5)
    expect(beyond).toBeUndefined()
    await markRunning(db, scene.claimOf(one!))
    await cancel(db, { id: two!.id, project: null })
    expect(await claimFrom(scene, 5)).toEqual([])
    await scene.finish(scene.finishItem(one!))
    const [three, more] = await claimFrom(scene, 5)
    expect(more).toBeUndefined()
    await handBack(db, { ...scene.claimOf(three!), reason: 'full' })
    expect(await claimFrom(scene, 5)).toHaveLength(1)
    expect(await claimFrom(scene, 5)).toEqual([])
  })

  it('gives the higher priority first, whether its executor has a limit or not, and starves nobody', async () => {
    const scene = await openScene(db, { max_concurrency: 1 })
    const other = await openScene(db)
    const high = await scene.submitOne({ priority: 3 })
    const beyond = await scene.submitOne({ priority: 2 })
    const middle = await other.submitOne({ priority: 1 })
    const low = await other.submitOne()
    const both = { free: [other.queueId] }
    expect(idsOf(await claimFrom(scene, 2, both))).toEqual([high.id, middle.id])
    expect(idsOf(await claimFrom(scene, 2, both))).toEqual([low.id])
    expect(await scene.read(beyond.id)).toMatchObject({ status: 'waiting' })
  })

  it('is one for all queues of an executor', async () => {
    const scene = await openScene(db, { max_concurrency: 2 })
    const otherQueue = await createQueueFor(db)(scene.executor.executor_id, { gpu: 'yes' })
    await scene.submitOne()
    await scene.submitOne({}, { queueId: otherQueue })
    await scene.submitOne({ priority: 1 }, { queueId: otherQueue })
    const both = { limited: [scene.queueId, otherQueue] }
    expect(await claimFrom(scene, 5, both)).toHaveLength(2)
    expect(await claimFrom(scene, 5, both)).toEqual([])
  })

  it('follows the executor as it is now', async () => {
    const secrets = await createSecrets(`test:${new Uint8Array(32).fill(1).toBase64()}`)
    const scene = await openScene(db, { max_concurrency: 1 })
    const set = (max_concurrency: number | null) =>
      patchExecutor(db, secrets, {
        name: scene.executor.name,
        patch: { max_concurrency },
        validate: ({ executor_type, ...settings }) => ({
          executor_type: z.literal('localhost').parse(executor_type),
          ...localhostExecutor.parse(settings),
        }),
      })
    await submitMany(scene, 6)
    expect(await claimFrom(scene, 6)).toHaveLength(1)
    await set(3)
    expect(await claimFrom(scene, 6)).toHaveLength(2)
    await set(1)
    expect(await claimFrom(scene, 6)).toEqual([])
    await set(null)
    expect(await claimFrom(scene, 2)).toHaveLength(2)
    expect(await claimFrom(scene, 6)).toHaveLength(1)
  })

  it('gives nothing to an agent that claim would give nothing', async () => {
    const scene = await openScene(db, { max_concurrency: 5 })
    await scene.submitOne()
    await setDraining(db, scene.agentId, true)
    expect(await claimFrom(scene, 1)).toEqual([])
  })

  it('costs one statement more where there is nothing to claim of it, and nothing where it is not served', async () => {
    const scene = await openScene(db, { max_concurrency: 1 })
    await submitMany(scene, 2)
    const { agentId, epoch, queueId } = scene
    const { counted, statements } = counting(db)
    const claimOf = createClaimWithinLimits(counted)
    await claimOf({ agentId, epoch, free: [], limited: [queueId], slots: 1 })
    await claimOf({ agentId, epoch, free: [queueId + 1e6], limited: [queueId], slots: 1 })
    expect(statements.splice(0)).toEqual(['query', 'transaction', 'query', 'query'])
    await claim(counted, { agentId, epoch, queues: [queueId], slots: 1 })
    expect(statements).toEqual(['query'])
  })
})

/** The database, and what was asked of it outside of transactions. */
function counting(db: Database): { counted: Database; statements: string[] } {
  const statements: string[] = []
  const counted: Database = {
    ...db,
    query: (text, params) => {
      statements.push('query')
      return db.query(text, params)
    },
    transaction: (act) => {
      statements.push('transaction')
      return db.transaction(act)
    },
  }
  return { counted, statements }
}
