import { executorType, type ExecutorSettings, type ExecutorType } from '@errand/shared'
import { sql } from 'drizzle-orm'
import {
  check,
  doublePrecision,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  unique,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core'
import { bytea, moment, oneOf } from '../columns.ts'
import { agents } from './agents.ts'

/** The parent of the seed's three tables. */
export const code_executors = pgTable(
  'code_executors',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    executor_type: text('executor_type').$type<ExecutorType>().notNull(),
    source: text('source', { enum: ['config', 'default', 'rest'] }).notNull(),
    /** The current version: a row of the table of its type. */
    config_id: uuid('config_id').notNull(),
    created_at: moment('created_at').notNull().defaultNow(),
    updated_at: moment('updated_at').notNull().defaultNow(),
    /** Deleted executors stay, for the history. */
    deleted_at: moment('deleted_at'),
  },
  (table) => [
    uniqueIndex('code_executors_live_name')
      .on(table.name)
      .where(sql`deleted_at is null`),
    check('code_executors_type', sql.raw(oneOf('executor_type', executorType.options))),
    check('code_executors_source', sql.raw(oneOf('source', ['config', 'default', 'rest']))),
  ],
)

/** What the three tables share. Each row is one immutable version; its id is the `config_id`. */
const version = {
  code_executor: uuid('code_executor')
    .notNull()
    .references(() => code_executors.id),
  /** The whole validated configuration, without secrets. */
  settings: jsonb('settings').$type<ExecutorSettings>().notNull(),
  created_at: moment('created_at').notNull().defaultNow(),
}

export const docker_executors = pgTable('docker_executors', {
  docker_executor_id: uuid('docker_executor_id').primaryKey(),
  ...version,
  image: text('image').notNull(),
})

export const ssh_executors = pgTable('ssh_executors', {
  ssh_executor_id: uuid('ssh_executor_id').primaryKey(),
  ...version,
  host: text('host').notNull(),
  port: integer('port').notNull(),
  username: text('username').notNull(),
})

export const local_executors = pgTable('local_executors', {
  local_executor_id: uuid('local_executor_id').primaryKey(),
  ...version,
  executor_path: text('executor_path'),
  timeout_sec: doublePrecision('timeout_sec').notNull(),
  work_dir: text('work_dir'),
})

/** Encrypted by the key ring; `key_id` names the key. Write-only over REST. */
export const executor_secrets = pgTable(
  'executor_secrets',
  {
    executor_id: uuid('executor_id')
      .notNull()
      .references(() => code_executors.id),
    config_id: uuid('config_id').notNull(),
    field: text('field').notNull(),
    key_id: text('key_id').notNull(),
    iv: bytea('iv').notNull(),
    ciphertext: bytea('ciphertext').notNull(),
  },
  (table) => [primaryKey({ columns: [table.config_id, table.field] })],
)

/**
 * What a waiting job needs: an executor, and an agent with all of these labels; or, for maintenance, that one agent.
 * Never deleted.
 */
export const queues = pgTable(
  'queues',
  {
    id: integer('id').primaryKey().generatedAlwaysAsIdentity(),
    executor_id: uuid('executor_id').references(() => code_executors.id),
    agent_id: uuid('agent_id').references(() => agents.id),
    /** jsonb compares by value, so the order of the keys does not matter. */
    labels: jsonb('labels').$type<Record<string, string>>().notNull(),
  },
  (table) => [
    unique('queues_need').on(table.executor_id, table.labels, table.agent_id).nullsNotDistinct(),
    check('queues_of_one_kind', sql`(executor_id is null) <> (agent_id is null)`),
  ],
)
