import { customType, timestamp } from 'drizzle-orm/pg-core'

/** Bytes as they are: NUL and invalid UTF-8 survive, which they don't in `text`. */
export const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => 'bytea' })

/** A moment by the database's clock. */
export const moment = (name: string) => timestamp(name, { withTimezone: true })

/** SQL text for `column in ('a', 'b')`. */
export function oneOf(column: string, values: readonly string[]): string {
  return `${column} in (${values.map((value) => `'${value}'`).join(', ')})`
}
