import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Unavailable } from '../store/database.ts'
import { openScene } from '../store/testing-scene.ts'
import { migrate } from './migrate.ts'
import { openPglite } from './pglite.ts'
import { startPgliteThread } from './pglite-thread.ts'

describe('openPglite', () => {
  let dir: string
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'errand-pglite-'))
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const onCrash = (error: Error) => {
    throw error
  }

  it('finds again in its directory what was stored', async () => {
    const dataDir = join(dir, 'data')
    const first = await openPglite({ dataDir, onCrash })
    await migrate(first)
    const scene = await openScene(first)
    const { id } = await scene.submitOne()
    await first.close()
    await expect(first.query('select 1')).rejects.toThrow(Unavailable)
    const second = await openPglite({ dataDir, onCrash })
    await migrate(second)
    expect(await second.query('select id from jobs')).toEqual([{ id }])
    await second.close()
  })

  it('tells the caller when its directory can not be opened', async () => {
    await expect(openPglite({ dataDir: '/proc/no/such/place', onCrash })).rejects.toThrow(/.+/)
  })

  it('fails every call, and says so once, when its thread dies', async () => {
    const crashes: Error[] = []
    const thread = await startPgliteThread('memory://', (error) => crashes.push(error))
    await thread.call({ kind: 'query', text: 'select 1', params: [], asArrays: false })
    const waiting = thread.call({ kind: 'query', text: 'select pg_sleep(600)', params: [], asArrays: false })
    thread.terminate()
    await expect(waiting).rejects.toThrow(Unavailable)
    await expect(thread.call({ kind: 'begin' })).rejects.toThrow(Unavailable)
    expect(crashes).toHaveLength(1)
  })
})
