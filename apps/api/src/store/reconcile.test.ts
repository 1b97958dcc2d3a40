import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { appendOutput } from './append-output.ts'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { reconcile } from './reconcile.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { held, openScene, type Scene } from './testing-scene.ts'
import { openSession } from './sessions.ts'
import { report } from './testing-scene.ts'

type State = 'assigned' | 'running' | 'canceling'
type Holding = 'accepted' | 'starting' | 'ended' | 'nothing'

describe.each(testingDatabases)('reconcile on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  const settle = (certain: boolean, list: ReturnType<typeof held>[]) =>
    reconcile(db, { agentId: scene.agentId, epoch: scene.epoch, certain, held: list, time: scene.time })

  async function jobIn(state: State, maxAttempts = 1) {
    const claimed = await scene.submitAndClaim({ retry: { max_attempts: maxAttempts } })
    if (state === 'running') await markRunning(db, scene.claimOf(claimed))
    if (state === 'canceling') await cancel(db, { id: claimed.id, project: null })
    return claimed
  }

  // state · what the agent says · certain → status, verdict (of what it holds), attempts
  it.each<[State, Holding, boolean, string, 'keep' | 'drop' | null, number]>([
    ['assigned', 'accepted', true, 'assigned', 'keep', 0],
    ['assigned', 'starting', true, 'assigned', 'keep', 0],
    ['assigned', 'ended', true, 'assigned', 'keep', 0],
    ['assigned', 'nothing', true, 'waiting', null, 0],
    ['running', 'starting', true, 'running', 'keep', 1],
    ['running', 'ended', true, 'running', 'keep', 1],
    ['running', 'nothing', true, 'lost', null, 1],
    ['canceling', 'starting', true, 'canceling', 'keep', 0],
    ['canceling', 'nothing', true, 'canceled', null, 0],
    ['assigned', 'accepted', false, 'lost', 'drop', 1],
    ['assigned', 'starting', false, 'lost', 'drop', 1],
    ['assigned', 'ended', false, 'assigned', 'keep', 0],
    ['assigned', 'nothing', false, 'lost', null, 1],
    ['running', 'starting', false, 'lost', 'drop', 1],
    ['running', 'ended', false, 'running', 'keep', 1],
    ['canceling', 'nothing', false, 'canceled', null, 1],
  ])(
    'of a job %s, held as %s, certain %s: %s',
    async (state, holding, certain, expected, verdict, attempt) => {
      const claimed = await jobIn(state)
      await scene.reconnect()
      const list = holding === 'nothing' ? [] : [held(claimed, holding)]
      const { jobs, ended } = await settle(certain, list)
      const row = await scene.read(claimed.id)
      expect(row.outcome ?? row.status).toBe(expected)
      expect(row.attempt).toBe(attempt)
      expect(jobs.map((one) => one.verdict)).toEqual(verdict === null ? [] : [verdict])
      expect(jobs.every((one) => one.cancel === (state === 'canceling'))).toBe(true)
      expect(ended).toEqual(expected === row.status && verdict === 'keep' ? [] : [row])
      // What is kept belongs to the new session, what is not can tell nothing any more.
      const { verdict: accepted } = await scene.finish(scene.finishItem(claimed))
      expect(accepted).toBe(verdict === 'keep' ? 'stored' : 'stale')
    },
  )

  it('tries again what may be, and tells in words why it ended', async () => {
    const claimed = await jobIn('running', 2)
    const last = await jobIn('running')
    await scene.reconnect()
    const { ended } = await settle(true, [])
    expect(ended.find(({ id }) => id === claimed.id)).toMatchObject({
      status: 'retrying',
      attempt: 1,
      agent_id: null,
    })
    expect(ended.find(({ id }) => id === last.id)).toMatchObject({
      error: 'its agent reconnected and holds it no more',
    })
  })

  it('gives back what its agent died with before the start, and calls it our failure after 3 times', async () => {
    const { id } = await scene.submitOne()
    const verdicts = []
    for (let times = 1; times <= 3; times++) {
      const [claimed] = await scene.claim(1)
      await scene.reconnect()
      const { jobs, ended } = await settle(true, [{ ...held(claimed!, 'accepted'), agent_died: true }])
      expect(ended).toEqual([await scene.read(id)])
      verdicts.push(jobs.map(({ verdict }) => verdict).join(), ended[0]!.status)
      // As it lists what it holds again, where it has not heard the answer.
      const again = await settle(true, [{ ...held(claimed!, 'accepted'), agent_died: true }])
      expect(again).toMatchObject({ jobs: [{ verdict: 'drop' }], ended: [] })
    }
    expect(verdicts).toEqual(['drop', 'waiting', 'drop', 'waiting', 'drop', 'failed'])
    expect(await scene.read(id)).toMatchObject({
      outcome: 'infra_error',
      attempt: 0,
      error: 'its agent died before it had started it; this was the case 3 times, so it is not tried again',
    })
  })

  it('cancels what was to be canceled and its agent died with, and does not count what never arrived', async () => {
    const canceled = await jobIn('canceling')
    await scene.reconnect()
    const { ended } = await settle(true, [{ ...held(canceled, 'accepted'), agent_died: true }])
    expect(ended).toMatchObject([{ id: canceled.id, outcome: 'canceled' }])
    const { id } = await scene.submitOne()
    for (let times = 1; times <= 4; times++) {
      await scene.claim(1)
      await scene.reconnect()
      await settle(true, [])
      expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
    }
  })

  it('drops another fence, other agents’ jobs and what is final', async () => {
    const claimed = await jobIn('running')
    const finished = await scene.submitAndClaim()
    await scene.finish(scene.finishItem(finished))
    const other = await openScene(db)
    const foreign = await other.submitAndClaim()
    await scene.reconnect()
    const given = [
      held({ ...claimed, fence: claimed.fence + 1 }, 'starting'),
      held(finished, 'ended'),
      held(foreign, 'starting'),
    ]
    const { jobs } = await settle(true, given)
    expect(jobs.map(({ id, verdict }) => [id, verdict])).toEqual(given.map(({ id }) => [id, 'drop']))
    expect(await scene.read(claimed.id)).toMatchObject({ outcome: 'lost' })
    expect(await scene.read(foreign.id)).toMatchObject({ status: 'assigned' })
  })

  it('touches no claim of this session', async () => {
    await scene.reconnect()
    const claimed = await jobIn('assigned')
    expect(await settle(true, [])).toEqual({ jobs: [], ended: [] })
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'assigned' })
  })

  it('changes nothing for a session that a newer one has replaced', async () => {
    const claimed = await jobIn('running')
    await scene.reconnect()
    const { epoch } = scene
    await scene.reconnect()
    const given = { agentId: scene.agentId, epoch, certain: true, held: [], time: scene.time }
    expect(await reconcile(db, given)).toEqual({ jobs: [], ended: [] })
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'running' })
  })

  it('tells how much output is stored', async () => {
    const claimed = await jobIn('running')
    await appendOutput(db, {
      ...scene.claimOf(claimed),
      stream: 'stderr',
      offset: 0,
      bytes: new Uint8Array(5),
    })
    await scene.reconnect()
    const { jobs } = await settle(true, [held(claimed, 'starting')])
    expect(jobs).toMatchObject([{ offsets: { stdout: 0, stderr: 5 } }])
  })

  it('knows an agent as certain only with the boot and spool it had, until its next settlement', async () => {
    const { agentId } = scene
    const connect = async (bootId: string, spoolId: string) => {
      const session = await openSession(db, { agentId, bootId, spoolId, report, leaseMs: 60_000 })
      return session as Exclude<typeof session, string>
    }
    const settled = ({ epoch, certain }: { epoch: number; certain: boolean }) =>
      reconcile(db, { agentId, epoch, certain, held: [], time: scene.time })
    expect((await connect('boot', 'spool')).certain).toBe(true)
    expect((await connect('boot 2', 'spool')).certain).toBe(false)
    const again = await connect('boot 2', 'spool')
    expect(again.certain).toBe(false)
    await settled(again)
    expect((await connect('boot 2', 'spool')).certain).toBe(true)
    const newSpool = await connect('boot 2', 'spool 2')
    expect(newSpool.certain).toBe(false)
    await settled(newSpool)
    expect((await connect('boot 2', 'spool 2')).certain).toBe(true)
  })
})
