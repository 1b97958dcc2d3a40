import { scaleTime } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest'
import { createDatabase, dropDatabase } from '../../../../infra/create-database.ts'
import { openPostgres } from '../node/postgres.ts'
import { openPostgresNotices } from '../node/postgres-notices.ts'
import type { Database } from '../store/database.ts'
import type { Hint } from './hint.ts'
import { createOthers } from './others.ts'

const time = scaleTime(0.1)
// More than one look at who is there.
const soon = { timeout: 10_000 }
const quiet = { debug() {}, info() {}, warn() {}, error() {} }

describe('replicas on one PostgreSQL', () => {
  let url: string
  let db: Database
  beforeAll(async () => {
    url = await createDatabase(inject('databaseUrl'))
    db = await openPostgres({ url, poolSize: 2 })
  })
  afterAll(async () => {
    await db?.close()
    await dropDatabase(url)
  })

  /** One more, with what it was told and how many statements it has sent. */
  async function replica() {
    const others = createOthers({ time, log: quiet })
    const heard: Hint[] = []
    const sent: (readonly string[])[] = []
    const open: Parameters<typeof others.listen>[0] = (events) => {
      const notices = openPostgresNotices({ url, time, log: quiet }, events)
      return {
        get others() {
          return notices.others
        },
        close: () => notices.close(),
        send(texts) {
          sent.push(texts)
          return notices.send(texts)
        },
      }
    }
    onTestFinished(() => others.close())
    others.listen(open, (hint) => void heard.push(hint))
    await expect.poll(() => heard, soon).toEqual([{ type: 'all' }])
    heard.length = 0
    return { others, heard, sent }
  }
  const job = (): Hint => ({ type: 'job', id: crypto.randomUUID(), event: 'final' })
  const listeners = () =>
    db.query<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'errand replica' and datname = current_database() order by backend_start`,
    )

  it('know of each other at once, and who is alone sends nothing', async () => {
    const first = await replica()
    expect(first.others.count).toBe(0)
    first.others.tell(job())
    const second = await replica()
    await expect.poll(() => [first, second].map((one) => one.others.count), soon).toEqual([1, 1])
    const hint = job()
    first.others.tell(hint)
    await expect.poll(() => second.heard, soon).toEqual([hint])
    expect(first.sent).toHaveLength(1)
    expect(first.heard).toEqual([])
    await second.others.close()
    await expect.poll(() => first.others.count, soon).toBe(0)
  })

  it('tell thousands of hints in few statements, each once', async () => {
    const [first, second, third] = [await replica(), await replica(), await replica()]
    await expect.poll(() => first.others.count, soon).toBe(2)
    const hints = Array.from({ length: 3_000 }, job)
    for (const hint of [...hints, ...hints]) first.others.tell(hint)
    await expect.poll(() => second.heard.length, soon).toBe(3_000)
    await expect.poll(() => third.heard, soon).toEqual(hints)
    expect(second.heard).toEqual(hints)
    expect(first.sent.length).toBeLessThan(3)
  })

  it('take everything as hinted once a lost connection is back, on both sides of it', async () => {
    const [first, second] = [await replica(), await replica()]
    await expect.poll(() => first.others.count, soon).toBe(1)
    const [{ pid }] = (await listeners()) as [{ pid: number }]
    await db.query('select pg_terminate_backend($1)', [pid])
    await expect.poll(() => first.others.count, soon).toBeUndefined()
    first.others.tell(job())
    await expect.poll(() => first.heard, soon).toEqual([{ type: 'all' }])
    await expect.poll(() => second.heard, soon).toEqual([{ type: 'all' }])
    expect([first, second].map((one) => one.others.count)).toEqual([1, 1])
  })

  it('leave a connection that answers nothing', async () => {
    const [first, second] = [await replica(), await replica()]
    const [{ pid }] = (await listeners()) as [{ pid: number }]
    process.kill(pid, 'SIGSTOP')
    onTestFinished(() => void process.kill(pid, 'SIGCONT'))
    await expect.poll(() => first.heard, soon).toEqual([{ type: 'all' }])
    const hint = job()
    second.others.tell(hint)
    await expect.poll(() => first.heard, soon).toContainEqual(hint)
  })

  it('let fall what only a newer version knows', async () => {
    const [first, second] = [await replica(), await replica()]
    await expect.poll(() => first.others.count, soon).toBe(1)
    first.others.tell({ type: 'from the future' } as unknown as Hint)
    const hint = job()
    first.others.tell(hint)
    await expect.poll(() => second.heard, soon).toEqual([hint])
  })
})
