import { code_executors, control } from '@errand/drizzle/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Unavailable, type Database } from './database.ts'
import { drizzleOver } from './drizzle-over.ts'
import { testingDatabases } from './testing-databases.ts'

describe('drizzleOver', () => {
  it('throws what the driver threw, so that its kind can be told and no parameter is in its message', async () => {
    const thrown = new Unavailable(new Error('cut'))
    const drizzle = drizzleOver(() => Promise.reject(thrown))
    await expect(drizzle.select().from(control)).rejects.toBe(thrown)
    await expect(drizzle.update(control).set({ id: 2 })).rejects.toBe(thrown)
    await expect(drizzle.query.control.findFirst()).rejects.toBe(thrown)
  })
})

describe.each(testingDatabases)('the database door on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  it('gives the same types for every column', async () => {
    const everyByte = Uint8Array.from({ length: 256 }, (_, n) => n)
    const [row] = await db.query<Record<string, unknown>>(
      `select 9007199254740991::int8 as int8, now() as moment, '{"a":[1,"x"]}'::jsonb as jsonb, $1::bytea as bytes,
         $2::text as text, true as yes, null as nothing, 1.5::float8 as float8, gen_random_uuid() as uuid, $3::int as int4`,
      [everyByte, 'ä\u{1F600}', 7],
    )
    expect(row).toMatchObject({
      int8: 2 ** 53 - 1,
      jsonb: { a: [1, 'x'] },
      text: 'ä\u{1F600}',
      yes: true,
      nothing: null,
    })
    expect(row).toMatchObject({ float8: 1.5, int4: 7, uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) })
    expect(row!.moment).toBeInstanceOf(Date)
    expect(row!.bytes).toBeInstanceOf(Uint8Array)
    expect(new Uint8Array(row!.bytes as Uint8Array)).toEqual(everyByte)
  })

  it('commits a transaction that resolves and rolls back one that throws', async () => {
    const count = async () => (await db.query<{ n: number }>('select count(*) as n from queues')).at(0)!.n
    const id = crypto.randomUUID()
    const insert = (tx: Database) =>
      tx.drizzle
        .insert(code_executors)
        .values({ id, name: id, executor_type: 'localhost', source: 'rest', config_id: id })
    await expect(
      db.transaction(async (tx) => {
        await insert(tx)
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(await db.query('select from code_executors where id = $1', [id])).toEqual([])
    expect(await db.transaction(async (tx) => (await insert(tx), 'yes'))).toBe('yes')
    expect(await db.query('select from code_executors where id = $1', [id])).toHaveLength(1)
    expect(await count()).toBe(0)
  })

  it('keeps transactions that run at once apart', async () => {
    await db.query('create table counter (n int)')
    await db.query('insert into counter values (0)')
    await Promise.all(
      Array.from({ length: 8 }, () =>
        db.transaction(async (tx) => {
          const [row] = await tx.query<{ n: number }>('select n from counter for update')
          await tx.query('update counter set n = $1', [row!.n + 1])
        }),
      ),
    )
    expect(await db.query('select n from counter')).toEqual([{ n: 8 }])
  })

  it('goes on after a statement that failed, in and out of transactions', async () => {
    await expect(db.query('select 1/0')).rejects.toMatchObject({ code: '22012' })
    await expect(db.query('selec')).rejects.toMatchObject({ code: '42601' })
    await expect(db.transaction((tx) => tx.query('select 1/0'))).rejects.toMatchObject({ code: '22012' })
    expect(await db.query('select 1 as one')).toEqual([{ one: 1 }])
  })

  it('shows nothing of the rows in the error of a refused one', async () => {
    const error = await db.query(`insert into control (id, server_id) values (7, gen_random_uuid())`).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: '23514' })
    expect(error).not.toHaveProperty('detail')
  })
})
