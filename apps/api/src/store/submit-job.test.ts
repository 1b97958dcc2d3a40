import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'
import { planParts } from './plan-parts.ts'
import { readJob, readJobs } from './read-job.ts'
import { type NewMaintenance, submitJob } from './submit-job.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

describe.each(testingDatabases)('submitJob on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  const item = (more: Partial<NewMaintenance> = {}): NewMaintenance => ({
    id: newId(),
    type: 'runtime.install',
    project: scene.project,
    keyId: scene.keyId,
    idempotency: undefined,
    executor: scene.executor,
    runtime: 'python',
    params: { code_executor: scene.executor.name, runtime: 'python', dependencies: ['six==1.17.0'] },
    timeoutSec: 60,
    maxAttempts: 2,
    ...more,
  })
  const idempotency = () => ({ key: newId(), sha256: 'a'.repeat(64) })

  it('stores a job that belongs to no queue and waits to be planned', async () => {
    const one = item()
    const submitted = await submitJob(db, one)
    expect(submitted).toMatchObject({
      kind: 'stored',
      job: {
        id: one.id,
        type: 'runtime.install',
        status: 'waiting',
        queue_id: 0,
        max_attempts: 2,
        limits: { timeout_sec: 60, output_limit_kb: 256 },
      },
    })
    expect(await readJob(db, { id: one.id, project: 'another' })).toMatchObject({
      params: one.params,
      progress: null,
      result: null,
      parts: [],
      attempts: [],
    })
    await planParts(db)
    expect((await readJob(db, { id: one.id, project: null }))!.job.waiting_reason).toContain('no agent')
  })

  it('is repeatable when its outcome is unknown, with a key and without', async () => {
    for (const one of [item(), item({ idempotency: idempotency() })]) {
      const first = await submitJob(db, one)
      expect(await submitJob(db, one)).toEqual(first)
      expect(await readJobs(db, [one.id])).toHaveLength(1)
    }
  })

  it('is one job for one key and body, of however many at the same moment, and no other for another body', async () => {
    const same = idempotency()
    const items = Array.from({ length: 10 }, () => item({ idempotency: same }))
    const submitted = await Promise.all(items.map((one) => submitJob(db, one)))
    const stored = submitted.filter(({ kind }) => kind === 'stored')
    expect(stored).toHaveLength(1)
    const winner = items[submitted.findIndex(({ kind }) => kind === 'stored')]!.id
    expect(submitted.filter(({ kind }) => kind !== 'stored')).toEqual(
      Array.from({ length: 9 }, () => ({ kind: 'repeated', id: winner })),
    )
    expect(
      await readJobs(
        db,
        items.map(({ id }) => id),
      ),
    ).toHaveLength(1)
    const other = item({ idempotency: { ...same, sha256: 'b'.repeat(64) } })
    expect(await submitJob(db, other)).toEqual({ kind: 'conflict' })
    expect(await readJobs(db, [other.id])).toEqual([])
  })

  it('shares its keys with executions', async () => {
    const same = idempotency()
    const { id } = await scene.submitOne({}, { idempotency: same })
    expect(await submitJob(db, item({ idempotency: same }))).toEqual({ kind: 'repeated', id })
    expect(await submitJob(db, item({ idempotency: { ...same, sha256: 'b'.repeat(64) } }))).toEqual({
      kind: 'conflict',
    })
  })
})
