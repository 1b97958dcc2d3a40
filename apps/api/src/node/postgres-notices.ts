import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import type { TimeConstants } from '@errand/shared'
import type { Log } from '../log.ts'
import type { NoticeEvents, Notices } from '../replicas/notices.ts'

export interface PostgresNoticesOptions {
  url: string
  time: Pick<TimeConstants, 'beatEveryMs'>
  log: Log
}

/**
 * LISTEN and NOTIFY on one connection of its own, which is made anew whenever it is lost. While it lives it holds a
 * shared advisory lock that nobody takes alone: those who hold it are the replicas that listen.
 */
export function openPostgresNotices(options: PostgresNoticesOptions, events: NoticeEvents): Notices {
  const { url, time, log } = options
  const closing = new AbortController()
  let listening: { sql: postgres.Sql; others: number } | undefined
  let said = false
  const ended = keepListening()

  return {
    async send(texts) {
      if (listening === undefined) throw new Error('this replica does not listen')
      await listening.sql`select pg_notify(${channel}, one) from json_array_elements_text(${JSON.stringify(texts)}::text::json) one`
    },
    get others() {
      return listening?.others
    },
    async close() {
      closing.abort()
      await ended
    },
  }

  async function keepListening(): Promise<void> {
    while (!closing.signal.aborted) {
      await listen().catch(sayOnce)
      await sleep(retryMs, undefined, { signal: closing.signal }).catch(() => {})
    }
  }

  /** Not again and again while the database is away. */
  function sayOnce(error: unknown): void {
    if (!said) log.warn({ err: error }, 'does not hear the other replicas')
    said = true
  }

  /** Until the connection is lost, which it throws, or this is closed. */
  async function listen(): Promise<void> {
    // It must not reconnect by itself: only after LISTEN is it of use.
    const over = new AbortController()
    const sql = connect(url, { heard, lost: () => over.abort() })
    const signal = AbortSignal.any([over.signal, closing.signal])
    try {
      await sql`select pg_advisory_lock_shared(${replicasLock})`
      await sql.unsafe(`listen ${channel}`)
      listening = { sql, others: await countOthers(sql) }
      said = false
      events.opened()
      // Who was alone learns that it no longer is.
      await sql`select pg_notify(${channel}, 'hello')`
      while (!signal.aborted) {
        await sleep(time.beatEveryMs, undefined, { signal }).catch(() => {})
        if (!signal.aborted) await look(sql)
      }
      if (over.signal.aborted) throw new Error('the connection was lost')
    } finally {
      listening = undefined
      await sql.end({ timeout: 0 })
    }
  }

  function heard(text: string): void {
    if (listening?.others === 0) void look(listening.sql).catch(() => {})
    events.heard(text)
  }

  /** A connection that answers nothing is lost, too. */
  async function look(sql: postgres.Sql): Promise<void> {
    const late = new AbortController()
    const others = await Promise.race([
      countOthers(sql),
      sleep(time.beatEveryMs, undefined, { signal: late.signal, ref: false }),
    ])
    late.abort()
    if (others === undefined) throw new Error('the connection does not answer')
    if (listening?.sql === sql) listening.others = others
  }
}

function connect(url: string, on: { heard: (text: string) => void; lost: () => void }): postgres.Sql {
  const heard = { onnotify: (_channel: string, text: string) => on.heard(text) }
  return postgres(url, {
    max: 1,
    connect_timeout: 5,
    max_lifetime: null,
    fetch_types: false,
    onnotice: () => {},
    onclose: on.lost,
    // The driver's own `listen` takes a connection that nothing else can be asked on.
    ...heard,
    connection: {
      application_name: 'errand replica',
      statement_timeout: 5_000,
      // A hint may be lost, and waits for no disk.
      synchronous_commit: 'off',
    },
  })
}

async function countOthers(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<[{ count: number }]>`
    select count(*)::int - 1 as count from pg_locks l join pg_database d on d.oid = l.database
    where d.datname = current_database() and l.locktype = 'advisory' and l.granted
      and l.classid = 0 and l.objid = ${replicasLock} and l.objsubid = 1`
  return row.count
}

const channel = 'errand'
/** Any number that nothing else locks. */
const replicasLock = 7_266_402
const retryMs = 250
