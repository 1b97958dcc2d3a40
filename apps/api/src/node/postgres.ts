import postgres from 'postgres'
import { Unavailable, type Database } from '../store/database.ts'
import { drizzleOver, type RunStatement } from '../store/drizzle-over.ts'
import { hasLostConnection, isAway, isRetryable } from './postgres-errors.ts'

export interface PostgresOptions {
  url: string
  /** Connections of this replica. */
  poolSize?: number
  /** Without an answer for this long a statement counts as lost and every connection is made anew. */
  answerWithinMs?: number
}

/** Connects to find out whether it can; throws `Unavailable` when it can't. Afterwards it reconnects by itself. */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const { answerWithinMs = 30_000 } = options
  let pool = connect(options)
  let closed = false
  const run: RunStatement = (text, params, asArrays) => mapErrors(() => answered(text, params, asArrays))
  const db: Database = {
    query: (text, params = []) => run(text, params, false) as Promise<never[]>,
    transaction: (act) => mapErrors(() => transact(pool, act)),
    drizzle: drizzleOver(run),
    async close() {
      closed = true
      await pool.end({ timeout: 5 })
    },
  }
  try {
    await db.query('select 1')
  } catch (error) {
    await db.close()
    throw error
  }
  return db

  /** A server that is stopped or cut off answers nothing and breaks nothing: then only a clock helps. */
  async function answered(text: string, params: readonly unknown[], asArrays: boolean): Promise<unknown[]> {
    const asked = pool
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      if (asked === pool && !closed) {
        pool = connect(options)
        void asked.end({ timeout: 0 }).catch(() => {})
      }
      late.reject(new Unavailable(new Error(`no answer within ${answerWithinMs} ms`)))
    }, answerWithinMs)
    try {
      return await Promise.race([statement(asked, text, params, asArrays), late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}

function connect({ url, poolSize = 10 }: PostgresOptions): postgres.Sql {
  return postgres(url, {
    max: poolSize,
    connect_timeout: 5,
    // Seconds. The first tries after a loss come fast, and no caller waits long for the next.
    backoff: (tries: number) => Math.min(0.05 * 2 ** tries, 1),
    fetch_types: false,
    onnotice: () => {},
    types: {
      int8: { to: 20, from: [20], parse: Number, serialize: String },
      // What comes is JSON text already: from us and from the builder.
      json: { to: 114, from: [114, 3802], parse: JSON.parse, serialize: String },
    },
    connection: {
      application_name: 'errand',
      statement_timeout: 20_000,
      lock_timeout: 10_000,
      idle_in_transaction_session_timeout: 30_000,
      ...plannerSettings,
    },
  })
}

/**
 * All our statements want index look-ups, planned once. Left to its statistics the planner would keep reading whole
 * tables that were small when it planned, and would plan some statements anew each time, which costs more than
 * running them.
 */
export const plannerSettings = {
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
}

/**
 * The driver writes the next statement of a transaction, be it only its end, also to a connection that has closed, by which
 * the process dies. So once the connection is lost a transaction says nothing more, and lets `begin` reject, as that does
 * when its connection closes.
 */
async function transact<T>(pool: postgres.Sql, act: (tx: Database) => Promise<T>): Promise<T> {
  let lost = false
  const begun = pool.begin(
    (tx) =>
      new Promise<T>((resolve, reject) => {
        act(databaseOf(tx, () => lost)).then(
          (result) => lost || resolve(result),
          (error: unknown) => {
            lost ||= error instanceof Unavailable && hasLostConnection(error.cause)
            if (!lost) reject(error)
          },
        )
      }),
  ) as Promise<T>
  begun.catch(() => (lost = true))
  return begun
}

function databaseOf(tx: postgres.TransactionSql, isLost: () => boolean): Database {
  const run: RunStatement = (text, params, asArrays) =>
    isLost()
      ? Promise.reject(new Unavailable(new Error('the connection of this transaction is lost')))
      : mapErrors(() => statement(tx, text, params, asArrays), 1)
  return {
    query: (text, params = []) => run(text, params, false) as Promise<never[]>,
    transaction: () => Promise.reject(new Error('a transaction inside a transaction')),
    drizzle: drizzleOver(run),
    close: () => Promise.reject(new Error('a transaction is closed by its end')),
  }
}

async function statement(
  sql: postgres.Sql | postgres.TransactionSql,
  text: string,
  params: readonly unknown[],
  asArrays: boolean,
): Promise<unknown[]> {
  const asked = sql.unsafe(text, params as never[], { prepare: true })
  return asArrays ? await asked.values() : await asked
}

/** Deadlocks and the like rolled back and may be tried again; not inside a transaction, which is over then. */
async function mapErrors<T>(act: () => Promise<T>, tries = 3): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (tries > 1 && isRetryable(error)) return await mapErrors(act, tries - 1)
    if (isAway(error)) throw new Unavailable(error)
    // Holds whole rows, that is labels and results of callers, and would reach the log.
    if (error instanceof postgres.PostgresError) delete (error as { detail?: string }).detail
    throw error
  }
}
