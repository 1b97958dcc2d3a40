import type { AgentReport, AgentStock } from '@errand/shared'
import { sql } from 'drizzle-orm'
import { bigint, boolean, jsonb, pgTable, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core'
import { moment } from '../columns.ts'

/** An agent and its session. The lease on all its jobs is `lease_until` here, not on each job. */
export const agents = pgTable(
  'agents',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    labels: jsonb('labels').$type<Record<string, string>>().notNull().default({}),
    /** Ed25519, raw 32 bytes, base64. */
    public_key: text('public_key').notNull(),
    boot_id: text('boot_id'),
    spool_id: text('spool_id'),
    /** False from a connect with another boot or spool until what it held has been settled. */
    certain: boolean('certain').notNull().default(true),
    epoch: bigint('epoch', { mode: 'number' }).notNull().default(0),
    lease_until: moment('lease_until'),
    draining: boolean('draining').notNull().default(false),
    revoked_at: moment('revoked_at'),
    last_seen_at: moment('last_seen_at'),
    report: jsonb('report').$type<AgentReport>(),
    /** What lies there because of Errand. */
    stock: jsonb('stock').$type<AgentStock>(),
    created_at: moment('created_at').notNull().defaultNow(),
  },
  (table) => [
    uniqueIndex('agents_live_name')
      .on(table.name)
      .where(sql`revoked_at is null`),
  ],
)

/** Single-use; the hash only. */
export const enrollment_tokens = pgTable('enrollment_tokens', {
  id: uuid('id').primaryKey(),
  token_sha256: text('token_sha256').notNull().unique(),
  name: text('name'),
  labels: jsonb('labels').$type<Record<string, string>>().notNull().default({}),
  created_at: moment('created_at').notNull().defaultNow(),
  expires_at: moment('expires_at').notNull(),
  used_at: moment('used_at'),
  agent_id: uuid('agent_id').references(() => agents.id),
})
