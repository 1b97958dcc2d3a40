import { sql } from 'drizzle-orm'
import { check, index, integer, jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

/** One row: what this installation is, and when an API was last alive to take renewals. */
export const control = pgTable(
  'control',
  {
    id: integer('id').primaryKey().default(1),
    server_id: uuid('server_id').notNull().defaultRandom(),
    api_alive_at: moment('api_alive_at').notNull().defaultNow(),
    /** A known text, sealed with the key ring: whoever cannot open it has another ring. */
    key_check: jsonb('key_check').$type<{ key_id: string; iv: string; ciphertext: string }>(),
    /** No lease expires before this. */
    expiry_stands_until: moment('expiry_stands_until'),
  },
  () => [check('control_is_one_row', sql`id = 1`)],
)

export const audit_log = pgTable(
  'audit_log',
  {
    id: uuid('id').primaryKey(),
    at: moment('at').notNull().defaultNow(),
    /** The id of the key, or what acted by itself. */
    actor: text('actor').notNull(),
    action: text('action').notNull(),
    target: text('target').notNull(),
    detail: jsonb('detail').$type<Record<string, unknown>>().notNull().default({}),
  },
  (table) => [index('audit_log_at').on(table.at)],
)
