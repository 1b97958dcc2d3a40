import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import postgres from 'postgres'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { startPostgres } from './postgres.ts'
import { testDatabase } from './test-database.ts'

async function ask<Row>(url: string, text: string): Promise<Row[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    return (await sql.unsafe(text)) as unknown as Row[]
  } finally {
    await sql.end()
  }
}

describe('the shared PostgreSQL', () => {
  it('gives each test a database of its own', async () => {
    const [one, two] = await Promise.all([testDatabase(), testDatabase()])
    await ask(one, 'create table here (id int)')
    expect(await ask(two, "select to_regclass('here') as found")).toEqual([{ found: null }])
  })

  it('lets nobody in without the password', async () => {
    const url = new URL(await testDatabase())
    url.password = 'guess'
    await expect(ask(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })
  })
})

describe('startPostgres', () => {
  it('keeps what was committed through SIGKILL, on the same port, with fsync on', async () => {
    const server = await startPostgres()
    onTestFinished(() => server.stop())
    const url = await server.createDatabase()
    await ask(url, 'create table kept (id int); insert into kept values (7)')
    const before = server.pid
    await server.kill()
    expect(server.pid).toBeUndefined()
    await expect(ask(url, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await server.start()
    expect(server.pid).not.toBe(before)
    expect(await ask(url, 'select id from kept')).toEqual([{ id: 7 }])
    expect(await ask(url, 'show fsync')).toEqual([{ fsync: 'on' }])
  })

  it('ends and leaves no files when whoever started it is killed', async () => {
    const program = `
      const { startPostgres } = await import(${JSON.stringify(import.meta.resolve('./postgres.ts'))})
      const server = await startPostgres({ fsync: false })
      console.log(JSON.stringify({ pid: server.pid, url: server.url }))
      setInterval(() => {}, 1000)`
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await owner.stdout.take(1).toArray()) as Buffer[]
    const { pid, url } = JSON.parse(String(line)) as { pid: number; url: string }
    const [{ data_directory: data }] = (await ask(url, 'show data_directory')) as [{ data_directory: string }]
    owner.kill('SIGKILL')
    await vi.waitFor(
      () => expect([existsSync(`/proc/${pid}`), existsSync(data)]).toEqual([false, false]),
      20_000,
    )
  })
})
