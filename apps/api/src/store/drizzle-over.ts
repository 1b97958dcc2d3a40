import { drizzle } from 'drizzle-orm/pg-proxy'
import * as schema from '@errand/drizzle/schema'
import type { Database } from './database.ts'

/** Runs one statement: rows as objects, or as arrays in the order of the columns. */
export type RunStatement = (text: string, params: readonly unknown[], asArrays: boolean) => Promise<unknown[]>

/**
 * The builder over any driver. drizzle's own driver packages would change the parsers of the client they are given
 * and would have to be kept alike; over this both databases and their transactions go through the same door.
 */
export function drizzleOver(run: RunStatement): Database['drizzle'] {
  const db = drizzle(async (text, params, method) => ({ rows: await run(text, params, method === 'all') }), {
    schema,
  })
  throwAsThrown(db as unknown as { session: Session })
  return db
}

interface Session {
  prepareQuery(...given: unknown[]): { queryWithCache: RunCached }
}
type RunCached = (text: string, params: unknown[], query: () => Promise<unknown>) => Promise<unknown>

/**
 * drizzle wraps every error into one whose message has all parameters, which would bring secrets into logs and hide
 * `Unavailable`. Where it does so is where it would look into a cache, which we have none of.
 */
function throwAsThrown({ session }: { session: Session }): void {
  const prepareQuery = session.prepareQuery.bind(session)
  session.prepareQuery = (...given) => {
    const prepared = prepareQuery(...given)
    prepared.queryWithCache = (_text, _params, query) => query()
    return prepared
  }
}
