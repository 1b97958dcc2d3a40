import { role, type Role } from '@errand/shared'
import { sql } from 'drizzle-orm'
import { boolean, check, index, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { moment, oneOf } from '../columns.ts'

export const api_keys = pgTable(
  'api_keys',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    role: text('role').$type<Role>().notNull(),
    project: text('project').notNull(),
    /** Of the whole key as it is sent, in hex. */
    secret_sha256: text('secret_sha256').notNull().unique(),
    /** The admin key of the environment or the data directory; at most one is in force. */
    bootstrap: boolean('bootstrap').notNull().default(false),
    created_at: moment('created_at').notNull().defaultNow(),
    expires_at: moment('expires_at'),
    revoked_at: moment('revoked_at'),
    last_used_at: moment('last_used_at'),
  },
  () => [check('api_keys_role', sql.raw(oneOf('role', role.options)))],
)

export const idempotency_keys = pgTable(
  'idempotency_keys',
  {
    key_id: uuid('key_id').notNull(),
    key: text('key').notNull(),
    /** Of the body as it was sent, in hex. */
    body_sha256: text('body_sha256').notNull(),
    job_id: uuid('job_id').notNull(),
    created_at: moment('created_at').notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ columns: [table.key_id, table.key] }),
    index('idempotency_keys_created_at').on(table.created_at),
  ],
)
