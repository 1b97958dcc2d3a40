import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'
import { readRequest } from './read-request.ts'
import { createSubmit } from './submit.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

describe.each(testingDatabases)('submit on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  const key = (name: string, sha256 = 'a'.repeat(64)) => ({ idempotency: { key: name, sha256 } })

  it('answers with the row that is stored', async () => {
    const given = { priority: 3, labels: { a: 'b' }, expires_in_sec: 60, retry: { max_attempts: 4 } }
    const job = await scene.submitOne(given, { requiredLimits: ['pids_limit'] })
    const stored = await scene.read(job.id)
    expect(job).toEqual(stored)
    expect(job).toMatchObject({ status: 'waiting', priority: 3, labels: { a: 'b' }, max_attempts: 4 })
    expect(job.expires_at!.getTime() - job.created_at.getTime()).toBeGreaterThan(59_000)
  })

  it('keeps NUL, quotes and every plane of Unicode in code', async () => {
    const code = 'a\0b\\u0000"\n\u{1F600}\u2028\uFEFF'
    const { id } = await scene.submitOne({ code })
    const request = await readRequest(db, { id, project: scene.project })
    expect(JSON.parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(request!.body)).code).toBe(code)
    const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(request!.body))
    expect(new Uint8Array(digest).toHex()).toBe(request!.sha256)
  })

  it('gives one id to fifty submits of one key at once, over two replicas', async () => {
    const other = createSubmit(db)
    const items = Array.from({ length: 50 }, () => scene.item({}, key('fifty')))
    const answers = await Promise.all(items.map((item, n) => (n % 2 ? other : scene.submit)(item)))
    const ids = answers.map((one) =>
      one.kind === 'stored' ? one.job.id : one.kind === 'repeated' ? one.id : one.kind,
    )
    expect(new Set(ids).size).toBe(1)
    expect(answers.filter((one) => one.kind === 'stored')).toHaveLength(1)
    const [{ count }] = (await db.query(
      'select count(*) from jobs where project = $1 and id = any(array(select json_array_elements_text($2::text::json)::uuid))',
      [scene.project, JSON.stringify(items.map(({ id }) => id))],
    )) as [{ count: number }]
    expect(count).toBe(1)
  })

  it('refuses another body under the same key, at once and later', async () => {
    const answers = await Promise.all([
      scene.submit(scene.item({}, key('other'))),
      scene.submit(scene.item({}, key('other', 'b'.repeat(64)))),
    ])
    expect(answers.map((one) => one.kind).sort()).toEqual(['conflict', 'stored'])
    expect(await scene.submit(scene.item({}, key('other', 'c'.repeat(64))))).toEqual({ kind: 'conflict' })
  })

  it('lets two holders use the same key', async () => {
    const first = await scene.submit(scene.item({}, key('shared')))
    const second = await scene.submit(scene.item({}, { ...key('shared'), keyId: newId() }))
    expect([first.kind, second.kind]).toEqual(['stored', 'stored'])
  })

  it('answers a repeat of the same item, whose answer was lost, as the first time', async () => {
    for (const item of [scene.item(), scene.item({}, key('lost answer'))]) {
      const first = await scene.submit(item)
      expect(await scene.submit(item)).toEqual(first)
    }
  })

  it('stores the good ones of a batch with a bad one', async () => {
    const items = [scene.item(), scene.item({}, { queueId: Number.NaN }), scene.item()]
    const answers = await Promise.allSettled([scene.submit(scene.item()), ...items.map(scene.submit)])
    expect(answers.map((one) => one.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
  })
})
