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
  return drizzle(async (text, params, method) => ({ rows: await run(text, params, method === 'all') }), {
    schema,
  })
}
