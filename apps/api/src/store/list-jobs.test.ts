import type { JobType } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { listJobs, type Cursor, type ListFilter } from './list-jobs.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

const types: readonly JobType[] = ['code.execute']

describe.each(testingDatabases)('listJobs on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  const ids: string[] = []
  beforeAll(async () => {
    db = await open()
    scene = await openScene(db)
    await (await openScene(db)).submitOne()
    // At once, so that many have the same millisecond.
    const labels: Record<string, string>[] = [{ team: '50%_a' }, { team: 'b', x: 'y' }, {}]
    const jobs = await Promise.all(
      Array.from({ length: 30 }, (_, n) => scene.submitOne({ labels: labels[n % 3]! })),
    )
    ids.push(...jobs.map(({ id }) => id))
    await cancel(db, { id: ids[0]!, project: null })
    const [claimed] = await scene.claim(1)
    await scene.finish(
      scene.finishItem(
        claimed!,
        { outcome: 'failed', exit_code: 3, error: 'boom' },
        { stdout: new Uint8Array(3) },
      ),
    )
  })
  afterAll(() => db.close())

  const list = (filter: Partial<ListFilter> = {}, limit = 100) =>
    listJobs(db, { project: scene.project, types, limit, ...filter })

  it('pages through everything once, newest first', async () => {
    const seen: string[] = []
    const times: number[] = []
    let after: Cursor | undefined
    do {
      const page = await listJobs(db, { project: scene.project, types, limit: 7, after, count: true })
      expect(page.total).toBe(30)
      seen.push(...page.rows.map(({ id }) => id))
      times.push(...page.rows.map(({ created_at }) => created_at.getTime()))
      after = page.next ?? undefined
    } while (after !== undefined)
    expect(seen.toSorted()).toEqual(ids.toSorted())
    expect(times).toEqual(times.toSorted((a, b) => b - a))
    expect((await list({}, 30)).next).toBeNull()
  })

  it('leaves output out', async () => {
    const [row] = (await list({ outcome: ['failed'] })).rows
    expect(row).toMatchObject({ stdout: null, stderr: null, compile: null, stdout_bytes: 3, exit_code: 3 })
  })

  it.each<[Partial<ListFilter>, number]>([
    [{ status: ['canceled'] }, 1],
    [{ status: ['canceled', 'completed'] }, 2],
    [{ status: [] }, 0],
    [{ outcome: ['failed'] }, 1],
    [{ label: { key: 'team' } }, 20],
    [{ label: { key: 'team', value: 'b' } }, 10],
    [{ label: { key: 'x', value: 'b' } }, 0],
    [{ q: '50%_' }, 10],
    [{ q: '5%' }, 0],
    [{ q: 'boo' }, 1],
    [{ q: "' or true --" }, 0],
    [{ executor: 'nobody' }, 0],
    [{ types: ['runtime.install'] }, 0],
    [{ project: 'elsewhere' }, 0],
  ])('filters by %o', async (filter, count) => {
    expect((await list(filter)).rows).toHaveLength(count)
    expect(
      (await listJobs(db, { project: scene.project, types, limit: 1, count: true, ...filter })).total,
    ).toBe(count)
  })

  it('filters by executor, agent, the beginning of an id, and shows an admin all projects', async () => {
    expect((await list({ executor: scene.executor.name })).rows).toHaveLength(30)
    expect((await list({ agentId: scene.agentId })).rows).toHaveLength(1)
    expect((await list({ q: ids[3]!.slice(0, 30) })).rows.map(({ id }) => id)).toContain(ids[3])
    expect((await list({ project: null })).rows).toHaveLength(31)
  })
})
