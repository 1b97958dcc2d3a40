import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { migrationsFolder } from '@errand/drizzle/migrations-folder'
import { createDatabase, dropDatabase } from '../../../../infra/create-database.ts'
import type { Database } from '../store/database.ts'
import { migrate, readJournal, SchemaMismatch } from './migrate.ts'
import { openPostgres } from './postgres.ts'

describe('migrate', () => {
  let url: string
  let db: Database
  let copy: string
  beforeEach(async () => {
    url = await createDatabase(inject('databaseUrl'))
    db = await openPostgres({ url })
    copy = await mkdtemp(join(tmpdir(), 'errand-migrations-'))
    await cp(migrationsFolder, copy, { recursive: true })
  })
  afterEach(async () => {
    await db.close()
    await dropDatabase(url)
    await rm(copy, { recursive: true })
  })

  async function addMigration(tag: string, when: number) {
    const path = join(copy, 'meta/_journal.json')
    const journal = JSON.parse(await readFile(path, 'utf8'))
    journal.entries.push({ idx: journal.entries.length, version: '7', when, tag, breakpoints: true })
    await writeFile(path, JSON.stringify(journal))
    await writeFile(join(copy, `${tag}.sql`), `create table ${tag} (n int)`)
  }

  it('is done once by replicas that start together, and again changes nothing', async () => {
    const others = await Promise.all([openPostgres({ url }), openPostgres({ url })])
    await Promise.all([db, ...others].map((one) => migrate(one)))
    await migrate(db)
    const [row] = await db.query<{ n: number }>('select count(*) as n from drizzle.__drizzle_migrations')
    expect(row!.n).toBe((await readJournal()).length)
    await Promise.all(others.map((one) => one.close()))
  })

  it('refuses a migration that would be skipped in silence, since a newer one was applied before', async () => {
    await migrate(db)
    await addMigration('from_another_branch', 1)
    const refused = migrate(db, pathToFileURL(`${copy}/`))
    await expect(refused).rejects.toThrow(SchemaMismatch)
    await expect(refused).rejects.toThrow(/from_another_branch/)
  })

  it('refuses a database that a newer version has used', async () => {
    await addMigration('from_the_future', Date.now() + 1e9)
    await migrate(db, pathToFileURL(`${copy}/`))
    await expect(migrate(db)).rejects.toThrow(SchemaMismatch)
  })

  it('applies all of a set or nothing', async () => {
    await addMigration('broken', Date.now() + 1e9)
    await writeFile(
      join(copy, 'broken.sql'),
      'create table half (n int);--> statement-breakpoint\nselect 1/0',
    )
    await expect(migrate(db, pathToFileURL(`${copy}/`))).rejects.toMatchObject({ code: '22012' })
    expect(await db.query(`select from pg_tables where tablename in ('half', 'jobs')`)).toEqual([])
  })
})

describe('the journal of migrations', () => {
  it('rises in time, or drizzle would skip what is older', async () => {
    const times = (await readJournal()).map(({ when }) => when)
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b))
  })
})
