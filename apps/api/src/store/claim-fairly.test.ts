import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Claim } from './claim.ts'
import { claimFairly } from './claim-fairly.ts'
import { createClaimWithinLimits } from './claim-within-limits.ts'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'
import { placeInLine } from './place-in-line.ts'
import { createQueueFor, listQueues } from './queues.ts'
import { readLoad } from './read-load.ts'
import { claimAtOnce } from './testing-claimers.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

describe.each(testingDatabases)('claim between keys on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  const [ann, bob, cid] = [newId(), newId(), newId()]
  const claim = (slots: number, queues = [scene.queueId]) =>
    claimFairly(db, { agentId: scene.agentId, epoch: scene.epoch, queues, slots })
  const keysOf = (claims: readonly Claim[]) => claims.map(({ execution }) => execution.key_id)
  const count = (claims: readonly Claim[], keyId: string) =>
    keysOf(claims).filter((one) => one === keyId).length

  async function submit(
    keyId: string,
    jobs: number,
    body: { priority?: number } = {},
    queueId = scene.queueId,
  ) {
    const ids: string[] = []
    for (let n = 0; n < jobs; n++) ids.push((await scene.submitOne(body, { keyId, queueId })).id)
    return ids
  }

  /** As if that key had submitted as many: copies of one job, all older than what comes from now on. */
  async function flood(keyId: string, jobs: number): Promise<void> {
    const [id] = await submit(keyId, 1)
    await db.query(
      `insert into jobs select c.* from jobs j, generate_series(1, $2::int) n,
         jsonb_populate_record(j, jsonb_build_object('id', md5(n || j.id::text)::uuid)) c where j.id = $1`,
      [id, jobs - 1],
    )
  }

  it('gives every second slot to the ten of one key beside the ten thousand of another', async () => {
    await flood(ann, 10_000)
    const ten = await submit(bob, 10)
    const claimed: Claim[] = []
    while (claimed.length < 20) claimed.push(...(await claim(1)))
    expect(claimed.filter(({ id }) => ten.includes(id)).map(({ id }) => id)).toEqual(ten)
    expect(count(claimed, ann)).toBe(10)
    expect(keysOf(await claim(3))).toEqual([ann, ann, ann])
  })

  it('starves neither on an agent with one slot, where nothing runs beside what is claimed', async () => {
    await submit(ann, 100)
    const ten = new Set(await submit(bob, 10))
    // By chance: that this is not enough happens once in 10^12.
    for (let turn = 0; turn < 80 && ten.size > 0; turn++) {
      const [one] = await claim(1)
      ten.delete(one!.id)
      await scene.finish(scene.finishItem(one!))
    }
    expect(ten.size).toBe(0)
  })

  it('shares the slots of one claim between three keys, of each the oldest', async () => {
    const oldest: string[] = []
    for (const key of [ann, bob, cid]) oldest.push(...(await submit(key, 5)).slice(0, 3))
    expect((await claim(9)).map(({ id }) => id).sort()).toEqual(oldest.sort())
  })

  it('counts what a key has running there, so that long jobs are not more than short ones', async () => {
    await submit(ann, 9)
    await claim(4)
    await submit(bob, 3)
    expect(keysOf(await claim(2))).toEqual([bob, bob])
    await scene.useOtherAgent()
    expect(keysOf(await claim(2)).sort()).toEqual([ann, bob].sort())
  })

  it('gives the higher priority first, whoever has what', async () => {
    const high = await submit(ann, 3, { priority: 1 })
    await submit(bob, 3)
    await submit(cid, 1, { priority: -1 })
    expect((await claim(3)).map(({ id }) => id)).toEqual(high)
    expect(keysOf(await claim(4))).toEqual([bob, bob, bob, cid])
  })

  it('gives of one key the older first, over all its queues and after a retry', async () => {
    const other = await createQueueFor(db)(scene.executor.executor_id, { gpu: 'yes' })
    const [first] = await submit(ann, 1)
    const [second] = await submit(ann, 1, {}, other)
    const [third] = await submit(ann, 1)
    const both = [scene.queueId, other]
    await submit(bob, 2)
    const claimed = await claim(2, both)
    expect(claimed.map(({ id }) => id)).toContain(first)
    const again = claimed.find(({ id }) => id === first)!
    await db.query(
      `update jobs set status = 'waiting', agent_id = null, epoch = null, assigned_at = null where id = $1`,
      [again.id],
    )
    const rest = (await claim(4, both)).filter(({ execution }) => execution.key_id === ann)
    expect(rest.map(({ id }) => id)).toEqual([first, second, third])
  })

  it('keeps max_concurrency, and shares the places that it leaves', async () => {
    scene = await openScene(db, { max_concurrency: 4 })
    await submit(ann, 6)
    await submit(bob, 6)
    const { agentId, epoch, queueId } = scene
    const within = (slots: number) =>
      createClaimWithinLimits(db)({ agentId, epoch, free: [], limited: [queueId], slots })
    const claimed = await within(8)
    expect([count(claimed, ann), count(claimed, bob)]).toEqual([2, 2])
    await scene.finish(scene.finishItem(claimed.find(({ execution }) => execution.key_id === bob)!))
    expect(keysOf(await within(8))).toEqual([bob])
  })

  it('gives each job to one of many that ask at once, and leaves none behind', async () => {
    const ids: string[] = []
    for (const key of [ann, bob, cid]) ids.push(...(await submit(key, 20)))
    // More keys than one claim looks at
    for (let n = 0; n < 30; n++) ids.push(...(await submit(newId(), 1)))
    const given = { agents: 8, queueId: scene.queueId, count: ids.length }
    const claimed = await claimAtOnce(db, claimFairly, given)
    expect(claimed.sort()).toEqual(ids.sort())
  })

  it('is what a queue asks for in which jobs of several keys wait, in whatever priority', async () => {
    const waitingKeys = async () => {
      const queue = (await listQueues(db)).find(({ id }) => id === scene.queueId)
      return queue!.waitingKeys.toSorted()
    }
    expect(await waitingKeys()).toEqual([])
    await flood(ann, 50)
    await submit(ann, 1, { priority: 2 })
    expect(await waitingKeys()).toEqual([ann])
    await submit(bob, 1)
    expect(await waitingKeys()).toEqual([ann, bob].sort())
    await claim(52)
    expect(await waitingKeys()).toEqual([])
  })

  it('looks for what waits in its own index alone, as do figures and reasons: not among what has ended', async () => {
    await flood(ann, 2_000)
    await db.query('analyze jobs')
    const asked: [string, readonly unknown[] | undefined][] = []
    const seen: Database = {
      ...db,
      query: (text, params) => {
        if (text.includes('jobs')) asked.push([text, params])
        return db.query(text, params)
      },
    }
    const { agentId, epoch, queueId } = scene
    const [job] = await claimFairly(seen, { agentId, epoch, queues: [queueId], slots: 1 })
    await placeInLine(seen, job!.execution)
    await readLoad(seen)
    expect(asked).toHaveLength(3)
    for (const [text, params] of asked) {
      const plan = JSON.stringify(await db.query(`explain ${text}`, params))
      expect(plan).toContain('jobs_claimable')
      expect(plan).not.toContain('jobs_by_age')
    }
  })
})
