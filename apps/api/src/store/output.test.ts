import { array, assert, asyncProperty, integer, nat, record } from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { appendOutput } from './append-output.ts'
import type { Database } from './database.ts'
import { readExecution } from './read-execution.ts'
import { findOutput, readOutput } from './read-output.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

const everyByte = Uint8Array.from({ length: 768 }, (_, n) => n % 256)

describe.each(testingDatabases)('output on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  let claimed: Awaited<ReturnType<Scene['submitAndClaim']>>
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
    claimed = await scene.submitAndClaim()
    await markRunning(db, scene.claimOf(claimed))
  })
  afterAll(() => db.close())

  const append = (offset: number, bytes: Uint8Array, stream: 'stdout' | 'stderr' = 'stdout') =>
    appendOutput(db, { ...scene.claimOf(claimed), stream, offset, bytes })
  const stored = (offset = 0, length = 1e6) =>
    readOutput(db, { id: claimed.id, fence: claimed.fence, stream: 'stdout', offset, length }).then(
      (bytes) => new Uint8Array(bytes),
    )

  it('is an exact prefix of what was written, however often, late or torn it is sent', async () => {
    const pieces = array(record({ from: nat(767), length: integer({ min: 1, max: 300 }) }), {
      minLength: 1,
      maxLength: 12,
    })
    await assert(
      asyncProperty(pieces, async (given) => {
        await db.query('delete from execution_output where execution_id = $1', [claimed.id])
        let reached = 0
        for (const { from, length } of given) {
          const { nextOffset } = await append(from, everyByte.subarray(from, from + length))
          if (from <= reached) reached = Math.max(reached, Math.min(from + length, 768))
          expect(nextOffset).toBe(reached)
        }
        expect(await stored()).toEqual(everyByte.subarray(0, reached))
      }),
      { numRuns: 25 },
    )
  })

  it('cuts an overlap, refuses a gap, and keeps the streams apart', async () => {
    expect(await append(0, everyByte.subarray(0, 100))).toEqual({
      verdict: 'stored',
      nextOffset: 100,
      attempt: 1,
    })
    expect(await append(50, everyByte.subarray(50, 150))).toMatchObject({ nextOffset: 150 })
    expect(await append(151, everyByte.subarray(151, 200))).toMatchObject({
      verdict: 'stored',
      nextOffset: 150,
    })
    expect(await append(0, everyByte.subarray(0, 10))).toMatchObject({ nextOffset: 150 })
    expect(await append(0, everyByte.subarray(0, 3), 'stderr')).toMatchObject({ nextOffset: 3 })
    expect(await stored()).toEqual(everyByte.subarray(0, 150))
  })

  it('is stored once when two connections send the same', async () => {
    for (let offset = 0; offset < 768; offset += 64) {
      const piece = everyByte.subarray(offset, offset + 64)
      const answers = await Promise.all([
        append(offset, piece),
        append(offset, piece),
        append(offset, piece.subarray(0, 32)),
      ])
      for (const { nextOffset } of answers) expect([offset + 32, offset + 64]).toContain(nextOffset)
      await append(offset, piece)
    }
    expect(await stored()).toEqual(everyByte)
  })

  it('stops exactly at the limit', async () => {
    const cap = 64 * 1024
    const all = new Uint8Array(cap + 10).fill(7)
    expect(await append(0, all.subarray(0, cap - 1))).toMatchObject({ nextOffset: cap - 1 })
    expect(await append(cap - 1, all.subarray(cap - 1))).toMatchObject({ verdict: 'stored', nextOffset: cap })
    expect(await append(cap, all.subarray(0, 5))).toMatchObject({ verdict: 'stored', nextOffset: cap })
    expect(await stored()).toHaveLength(cap)
  })

  it('of a stale claim is refused', async () => {
    const given = { ...scene.claimOf(claimed), stream: 'stdout' as const, offset: 0, bytes: everyByte }
    for (const stale of [{ fence: claimed.fence + 1 }, { epoch: scene.epoch - 1 }, { agentId: claimed.id }])
      expect(await appendOutput(db, { ...given, ...stale })).toMatchObject({ verdict: 'stale' })
    await scene.finish(scene.finishItem(claimed))
    expect(await append(0, everyByte)).toMatchObject({ verdict: 'stale' })
    expect(await stored()).toHaveLength(0)
  })

  describe('is read in ranges', () => {
    const ranges = [
      [0, 1],
      [99, 2],
      [100, 100],
      [0, 768],
      [50, 500],
      [767, 100],
      [768, 1],
      [5_000, 1],
    ] as const

    it('from pieces', async () => {
      for (let at = 0; at < 768; at += 100) await append(at, everyByte.subarray(at, at + 100))
      for (const [offset, length] of ranges)
        expect(await stored(offset, length)).toEqual(everyByte.subarray(offset, offset + length))
      const found = { id: claimed.id, project: scene.project, stream: 'stdout' } as const
      expect(await findOutput(db, found)).toEqual({ fence: claimed.fence, bytes: 768, final: false })
      expect(await findOutput(db, { ...found, project: 'elsewhere' })).toBeUndefined()
      await scene.finish(scene.finishItem(claimed, {}, { stdout: everyByte, sentStdout: 768 }))
      expect(await findOutput(db, found)).toEqual({ fence: claimed.fence, bytes: 768, final: true })
      expect(await stored()).toEqual(everyByte)
    })

    it('from a result', async () => {
      await scene.finish(scene.finishItem(claimed, {}, { stdout: everyByte }))
      for (const [offset, length] of ranges)
        expect(await stored(offset, length)).toEqual(everyByte.subarray(offset, offset + length))
      const found = await findOutput(db, { id: claimed.id, project: null, stream: 'stdout' })
      expect(found).toEqual({ fence: claimed.fence, bytes: 768, final: true })
    })
  })

  it('is shown in the record while it grows', async () => {
    await append(0, everyByte.subarray(0, 5))
    const row = await readExecution(db, { id: claimed.id, project: scene.project })
    expect(row).toMatchObject({ status: 'running', stdout_bytes: 5, stderr_bytes: 0 })
  })
})
