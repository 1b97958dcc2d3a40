import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import { readExecution } from './read-execution.ts'
import { toRecord } from './execution-row.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

describe.each(testingDatabases)('the life of a job on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  it('goes from submit over claim to a result', async () => {
    const { id, fence, request } = await scene.submitAndClaim({ code: 'print("a\0b")' })
    expect(JSON.parse(new TextDecoder().decode(request!)).code).toBe('print("a\0b")')
    const stdout = Uint8Array.from({ length: 512 }, (_, n) => n % 256)
    const finished = await scene.finish(scene.finishItem({ id, fence }, {}, { stdout }))
    expect(finished.verdict).toBe('stored')
    const row = await readExecution(db, { id, project: scene.project })
    expect(new Uint8Array(row!.stdout!)).toEqual(stdout)
    expect({ ...finished.execution, stdout: null, stderr: null }).toEqual({ ...row, stdout: null, stderr: null })
    expect(toRecord(row!)).toMatchObject({ status: 'completed', success: true, attempt: 1, stdout_bytes: 512 })
  })
})
