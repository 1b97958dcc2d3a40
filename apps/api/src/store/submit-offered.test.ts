import { sizeLimits, timeConstants } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { setDraining } from './agents.ts'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { assignedButNotHeld } from './missing.ts'
import { newId } from './new-id.ts'
import { createQueueFor } from './queues.ts'
import { reconcile } from './reconcile.ts'
import { openSession } from './sessions.ts'
import { createSubmit, type Submitted } from './submit.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, report, type Scene } from './testing-scene.ts'
import { revokeAgent } from './revoke-agent.ts'

describe.each(testingDatabases)('submit with an offered slot on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  const offered = (more: Parameters<Scene['offer']>[0] = {}, body: Parameters<Scene['item']>[0] = {}) =>
    scene.submit(scene.item(body, scene.offer(more)))
  const claimed = (submitted: Submitted) => {
    if (submitted.kind !== 'stored' || submitted.claim === undefined) throw new Error('not assigned')
    return submitted.claim
  }

  it('assigns it at once, with all that the agent needs and a fence that rises with every claim', async () => {
    const before = await scene.submitAndClaim()
    const submitted = await offered({}, { code: 'a\0é', expires_in_sec: 60 })
    const one = claimed(submitted)
    expect(submitted).toMatchObject({ job: one.execution })
    expect(one.execution).toEqual(await scene.read(one.id))
    expect(one.execution).toMatchObject({
      status: 'assigned',
      agent_id: scene.agentId,
      epoch: scene.epoch,
      attempt: 0,
    })
    expect(one.fence).toBeGreaterThan(before.fence)
    expect((await scene.submitAndClaim()).fence).toBeGreaterThan(one.fence)
    const { agentId, epoch } = scene
    expect(await assignedButNotHeld(db, { agentId, epoch, held: [], olderThanMs: 0 })).toContainEqual(one)
    expect(await scene.finish(scene.finishItem(one))).toMatchObject({ verdict: 'stored' })
  })

  it('leaves an input behind that is too large for the socket', async () => {
    const one = claimed(await offered({}, { code: 'x'.repeat(sizeLimits.socketInput) }))
    expect(one).toMatchObject({ request: null, requestSha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(one.requestBytes).toBeGreaterThan(sizeLimits.socketInput)
  })

  it('lets it wait behind what waits in any queue that the slot serves', async () => {
    const other = await createQueueFor(db)(scene.executor.executor_id, { other: 'yes' })
    const first = await scene.submitOne({}, { queueId: other })
    const second = await offered({ queues: [scene.queueId, other] }, { priority: 9 })
    expect(second).toMatchObject({ kind: 'stored', job: { status: 'waiting', agent_id: null, fence: 0 } })
    expect(second).not.toHaveProperty('claim')
    expect(claimed(await offered({ queues: [] })).execution.status).toBe('assigned')
    await cancel(db, { id: first.id, project: null })
    expect(await scene.claim(9)).toHaveLength(1)
    expect(claimed(await offered({ queues: [scene.queueId, other] })).execution.status).toBe('assigned')
  })

  it('lets it wait where the session may claim nothing', async () => {
    const { agentId } = scene
    const waits = async () =>
      expect(await offered()).toMatchObject({ job: { status: 'waiting', epoch: null } })
    const left = async () => (await scene.claim(9)).length
    expect(await offered({ epoch: scene.epoch - 1 })).toMatchObject({ job: { status: 'waiting' } })
    expect(await offered({ agentId: newId() })).toMatchObject({ job: { status: 'waiting' } })
    expect(await left()).toBe(2)
    await setDraining(db, agentId, true)
    await waits()
    await setDraining(db, agentId, false)
    expect(await left()).toBe(1)
    await db.query(`update agents set lease_until = now() - interval '1 second' where id = $1`, [agentId])
    await waits()
    await revokeAgent(db, agentId, timeConstants)
    await waits()
  })

  it('takes as many as are offered of those that are written together', async () => {
    const items = [scene.offer(), {}, scene.offer(), scene.offer()].map((more) => scene.item({}, more))
    const [alone, ...together] = await Promise.all([offered(), ...items.map(scene.submit)])
    const assigned = [alone, together[0]!, together[2]!, together[3]!].map(claimed)
    expect(together[1]).toMatchObject({ job: { status: 'waiting' } })
    expect(new Set(assigned.map(({ fence }) => fence)).size).toBe(4)
    for (const one of assigned) expect(await scene.read(one.id)).toEqual(one.execution)
  })

  it('assigns the good ones of a batch with a bad one once each', async () => {
    const items = [scene.offer(), { queueId: Number.NaN }, scene.offer()].map((more) => scene.item({}, more))
    const answers = await Promise.allSettled([offered(), ...items.map(scene.submit)])
    expect(answers.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    const fences = answers.flatMap((one) => (one.status === 'fulfilled' ? [claimed(one.value).fence] : []))
    expect(new Set(fences).size).toBe(3)
  })

  it('assigns one of many with the same idempotency key, over two replicas', async () => {
    const other = createSubmit(db)
    const idempotency = { key: 'many', sha256: 'a'.repeat(64) }
    const items = Array.from({ length: 20 }, () => scene.item({}, { idempotency, ...scene.offer() }))
    const answers = await Promise.all(items.map((item, n) => (n % 2 ? other : scene.submit)(item)))
    const stored = answers.filter((one) => one.kind === 'stored')
    expect(stored.map(claimed)).toHaveLength(1)
    expect(answers.filter((one) => one.kind === 'repeated')).toHaveLength(19)
  })

  it('assigns it no second time when it is repeated because its answer was lost: the renewal finds it', async () => {
    const item = scene.item({}, scene.offer())
    const first = claimed(await scene.submit(item))
    const again = await scene.submit(item)
    expect(again).toEqual({ kind: 'stored', job: first.execution })
    const { agentId, epoch } = scene
    expect(await assignedButNotHeld(db, { agentId, epoch, held: [], olderThanMs: 0 })).toEqual([first])
  })

  it('is free again when its agent reconnects and never received it', async () => {
    const { id } = claimed(await offered({}, { expires_in_sec: 60 }))
    const epoch = await scene.reconnect()
    const { agentId, time } = scene
    const { ended } = await reconcile(db, { agentId, epoch, certain: true, held: [], time })
    expect(ended).toMatchObject([{ id, status: 'waiting', attempt: 0, agent_id: null }])
    expect(await scene.claim(1)).toMatchObject([{ id }])
  })

  it('is committed before a newer session opens, so that its settlement finds it', async () => {
    const order: string[] = []
    const { opened, submitted } = await db.transaction(async (tx) => {
      const submitted = await createSubmit(tx)(scene.item({}, scene.offer()))
      const opened = scene.reconnect().then(() => order.push('opened'))
      await tx.query('select pg_sleep(0.2)')
      order.push('assigned')
      return { opened, submitted }
    })
    await opened
    expect(claimed(submitted).execution.status).toBe('assigned')
    expect(order).toEqual(['assigned', 'opened'])
  })

  it('waits when a newer session is about to be committed', async () => {
    const { agentId } = scene
    const submitted = await db.transaction(async (tx) => {
      await openSession(tx, { agentId, bootId: 'boot', spoolId: 'spool', report, leaseMs: 60_000 })
      const late = offered()
      await tx.query('select pg_sleep(0.2)')
      return { late }
    })
    expect(await submitted.late).toMatchObject({ job: { status: 'waiting', agent_id: null, fence: 0 } })
  })
})
