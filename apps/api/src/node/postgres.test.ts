import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startPostgres, type Postgres } from '../../../../infra/postgres.ts'
import { beat } from '../store/beat.ts'
import { Unavailable, type Database } from '../store/database.ts'
import type { NewExecution } from '../store/submit.ts'
import { openScene } from '../store/testing-scene.ts'
import { migrate } from './migrate.ts'
import { openPostgres } from './postgres.ts'

describe('openPostgres', () => {
  let server: Postgres
  let db: Database
  beforeAll(async () => {
    server = await startPostgres()
    db = await openPostgres({ url: server.url })
    await migrate(db)
  })
  afterAll(async () => {
    await db.close()
    await server.stop()
  })

  it('refuses to open what is not there', async () => {
    await expect(openPostgres({ url: 'postgres://nobody@127.0.0.1:1/none' })).rejects.toThrow(Unavailable)
  })

  describe('a transaction whose connection breaks', () => {
    let link: Server
    let broken: Database
    const ways = new Set<Socket>()
    beforeAll(async () => {
      const url = new URL(server.url)
      const port = Number(url.port)
      link = createServer((near) => {
        const far = connect(port, url.hostname)
        for (const socket of [near, far]) {
          ways.add(socket)
          socket
            .on('error', () => {})
            .on('close', () => {
              ways.delete(socket)
              near.destroy()
              far.destroy()
            })
        }
        near.pipe(far).pipe(near)
      }).listen(0, '127.0.0.1')
      await once(link, 'listening')
      url.port = String((link.address() as AddressInfo).port)
      broken = await openPostgres({ url: url.href })
    })
    afterAll(async () => {
      await broken.close()
      link.close()
    })
    /** And time for the driver to see it, while the transaction waits for something else. */
    const breakAll = async () => {
      for (const socket of ways) socket.resetAndDestroy()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }

    it.each<[string, (tx: Database) => Promise<unknown>]>([
      ['while it waits for an answer', (tx) => Promise.all([tx.query('select pg_sleep(10)'), breakAll()])],
      ['before its next statement', (tx) => breakAll().then(() => tx.query('select 1'))],
      ['before its end', () => breakAll()],
      ['before it fails by itself', () => breakAll().then(() => Promise.reject(new Error('own')))],
      [
        'and goes on after a failed statement',
        (tx) => breakAll().then(() => tx.query('select 1').catch(() => tx.query('select 1'))),
      ],
    ])('%s is over, and everything else goes on', async (_when, act) => {
      const transaction = broken.transaction(async (tx) => {
        await tx.query('select 1')
        await act(tx)
      })
      await expect(transaction).rejects.toThrow(Unavailable)
      await expect.poll(() => broken.query('select 1 as one').catch(() => [])).toEqual([{ one: 1 }])
    })
  })

  it('keeps all that was acknowledged, and comes back by itself, when the server is killed under load', async () => {
    const scene = await openScene(db)
    const acknowledged: string[] = []
    const thrown: unknown[] = []
    const stop = new AbortController()
    const caller = async () => {
      while (!stop.signal.aborted) await submitUntilAnswered(scene.item())
    }
    /** Whether it got in is not known when the database goes away: the same item is submitted again. */
    const submitUntilAnswered = async (item: NewExecution): Promise<void> => {
      try {
        const submitted = await scene.submit(item)
        if (submitted.kind === 'stored') acknowledged.push(item.id)
      } catch (error) {
        thrown.push(error)
        await new Promise((resolve) => setTimeout(resolve, 20))
        await submitUntilAnswered(item)
      }
    }
    const callers = Promise.all(Array.from({ length: 8 }, caller))
    for (let round = 0; round < 2; round++) {
      const before = acknowledged.length
      await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(before + 50)
      await server.kill()
      await expect(beat(db, scene.time)).rejects.toThrow(Unavailable)
      await expect(db.drizzle.query.control.findFirst()).rejects.toThrow(Unavailable)
      await server.start()
    }
    const before = acknowledged.length
    await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(before + 50)
    stop.abort()
    await callers
    expect(thrown.length).toBeGreaterThan(0)
    expect(thrown.filter((error) => !(error instanceof Unavailable))).toEqual([])
    expect(new Set(acknowledged).size).toBe(acknowledged.length)
    const stored = await db.query<{ id: string }>('select id from jobs where project = $1', [scene.project])
    const ids = new Set(stored.map(({ id }) => id))
    expect(acknowledged.filter((id) => !ids.has(id))).toEqual([])
  })

  it('gives up on a server that does not answer, and goes on with it later', async () => {
    const impatient = await openPostgres({ url: server.url, answerWithinMs: 300 })
    process.kill(server.pid!, 'SIGSTOP')
    try {
      // Its backends still answer on connections that are open; new ones wait for the postmaster.
      const slow = Array.from({ length: 3 }, () => impatient.query('select pg_sleep(1)'))
      for (const one of await Promise.allSettled(slow))
        expect(one).toMatchObject({ status: 'rejected', reason: expect.any(Unavailable) })
    } finally {
      process.kill(server.pid!, 'SIGCONT')
    }
    await expect
      .poll(() => impatient.query('select 1 as one').catch(() => []), { timeout: 20_000 })
      .toEqual([{ one: 1 }])
    await impatient.close()
  })
})
