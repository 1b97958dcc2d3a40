import type { PgRemoteDatabase } from 'drizzle-orm/pg-proxy'
import type * as schema from '@errand/drizzle/schema'

/**
 * The one door to SQL, alike for PGlite and PostgreSQL: int8 comes as number, timestamptz as Date, jsonb parsed,
 * bytea as Uint8Array. Every call may throw `Unavailable`.
 */
export interface Database {
  /** One statement, prepared once. Lists go in as one parameter of JSON text, so that both drivers speak alike. */
  query<Row>(text: string, params?: readonly unknown[]): Promise<Row[]>
  /** Commits when `act` resolves and rolls back when it throws. Use `tx` inside, never the outer database. */
  transaction<T>(act: (tx: Database) => Promise<T>): Promise<T>
  /** For reads and writes off the hot path. It has no `transaction` of its own: use the one above. */
  readonly drizzle: PgRemoteDatabase<typeof schema>
  close(): Promise<void>
}

/**
 * The database is away, or did not answer in time: 503 to callers. Whether the statement took effect is unknown, so
 * every act of the store may be repeated.
 */
export class Unavailable extends Error {
  constructor(cause: unknown) {
    super('the database is away', { cause })
    this.name = 'Unavailable'
  }
}
