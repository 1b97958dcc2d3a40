import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLive } from '../live/live.ts'
import { cancel } from '../store/cancel.ts'
import { claim, type Claim } from '../store/claim.ts'
import type { Database } from '../store/database.ts'
import { listQueues } from '../store/queues.ts'
import { lock } from '../store/lock.ts'
import { testingDatabases } from '../store/testing-databases.ts'
import { openScene, type Scene } from '../store/testing-scene.ts'
import { createSettleMaintenance } from './settle-maintenance.ts'

describe.each(testingDatabases)('maintenance is settled on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())
  beforeEach(async () => {
    scene = await openScene(db, { image: 'any/image:1' })
  })

  it('to the end: what waits for what has ended by that', async () => {
    const waiting = await scene.submitAndClaim()
    await lockOf(waiting, 'runtime.install')
    await lockOf(await claimPart(), 'docker_image.download')
    const download = await claimPart()
    const item = scene.finishItem(download, { outcome: 'rejected', error: 'no such image' })
    expect((await scene.finish(item)).verdict).toBe('stored')
    await settleWith().settle()
    expect(await scene.read(waiting.id)).toMatchObject({
      outcome: 'infra_error',
      error: 'its dependencies were not installed: its image was not downloaded: no such image',
    })
  })

  it('to the end: what is wanted by nobody is canceled, and what that wanted', async () => {
    const waiting = await scene.submitAndClaim()
    await lockOf(waiting, 'runtime.install')
    const installation = await claimPart()
    await lockOf(installation, 'docker_image.download')
    const download = await claimPart()
    await cancel(db, { id: waiting.id, project: null })
    const { settle, told } = settleWith()
    await settle()
    expect(await scene.read(installation.id)).toMatchObject({ status: 'canceled' })
    expect(await scene.read(download.id)).toMatchObject({ status: 'canceling' })
    expect(told).toContain(`cancel ${download.id}`)
  })

  it('of however many wait for one job', async () => {
    const waiting = await scene.submitAndClaim()
    await lockOf(waiting, 'runtime.install')
    await db.query(
      `insert into jobs select (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid()))).*
       from jobs j, generate_series(1, 1100) where id = $1`,
      [waiting.id],
    )
    const part = await claimPart()
    await scene.finish(scene.finishItem(part))
    await settleWith().settle()
    const statuses = await db.query(
      `select status, count(*) from jobs where executor_id = $1 and type = 'code.execute' group by 1`,
      [scene.executor.executor_id],
    )
    expect(statuses).toEqual([{ status: 'waiting', count: 1_101 }])
  })

  it('also when what was asked for cannot be divided', async () => {
    const waiting = await scene.submitAndClaim()
    await lockOf(waiting, 'runtime.install')
    await scene.finish(scene.finishItem(await claimPart()))
    const failing = {
      ...db,
      query: (text: string, params?: readonly unknown[]) =>
        text.includes('j.queue_id = 0 and (j.created_at')
          ? Promise.reject(new Error('so it is'))
          : db.query(text, params),
    } as Database
    const { settle, told } = settleWith(failing)
    await settle()
    expect(await scene.read(waiting.id)).toMatchObject({ status: 'waiting' })
    expect(told).toContain('warn')
  })

  function settleWith(on = db) {
    const told: string[] = []
    const settle = createSettleMaintenance({
      db: on,
      live: createLive(),
      time: scene.time,
      dispatch: {
        cancel: (_agentId, id) => told.push(`cancel ${id}`),
        freed: () => {},
        poll: () => Promise.resolve(),
      },
      log: { debug() {}, info() {}, error() {}, warn: () => told.push('warn') },
    })
    return { settle, told }
  }

  function lockOf(of: Claim, need: 'runtime.install' | 'docker_image.download') {
    return lock(db, { ...scene.claimOf(of), need, reason: 'it is not there' })
  }

  async function claimPart(): Promise<Claim> {
    const { agentId, epoch } = scene
    const queues = (await listQueues(db)).filter((one) => one.agentId === agentId).map(({ id }) => id)
    const [part] = await claim(db, { agentId, epoch, queues, slots: 1 })
    return part!
  }
})
