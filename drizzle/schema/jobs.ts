import {
  heldStatuses,
  type AppliedLimits,
  type JobProgress,
  type JobResult,
  type LimitName,
  type Outcome,
  type JobType,
  type ExecutorType,
  type Status,
  type RuntimeName,
} from '@errand/shared'
import { sql } from 'drizzle-orm'
import {
  bigint,
  check,
  doublePrecision,
  index,
  integer,
  jsonb,
  pgSequence,
  pgTable,
  text,
  primaryKey,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core'
import { bytea, moment, oneOf } from '../columns.ts'

/** Each claim of any job takes the next one. */
export const job_fence = pgSequence('job_fence')

const held = oneOf('status', heldStatuses)

/**
 * The narrow hot table of every job. An execution is a job of type `code.execute`; what it submitted and what came
 * of it lie in tables of their own under the same id. No foreign keys: each would cost every submit a lookup and a
 * lock, and what they would point to (queues, executors, keys, agents) is never deleted. The executor's name and
 * type stand here for the same reason.
 */
export const jobs = pgTable(
  'jobs',
  {
    id: uuid('id').primaryKey(),
    type: text('type').$type<JobType>().notNull(),
    status: text('status').$type<Status>().notNull(),
    outcome: text('outcome').$type<Outcome>(),
    project: text('project').notNull(),
    key_id: uuid('key_id').notNull(),
    /** 0: none, it is done in parts. */
    queue_id: integer('queue_id').notNull(),
    executor_id: uuid('executor_id').notNull(),
    executor_name: text('executor_name').notNull(),
    executor_type: text('executor_type').$type<ExecutorType>().notNull(),
    config_id: uuid('config_id').notNull(),
    runtime: text('runtime').$type<RuntimeName>().notNull(),
    priority: integer('priority').notNull().default(0),
    attempt: integer('attempt').notNull().default(0),
    max_attempts: integer('max_attempts').notNull().default(1),
    /** Claims that ended without a result, and without proof that they never started or because their agent died of them. */
    lost_claims: integer('lost_claims').notNull().default(0),
    /** 0 before the first claim. */
    fence: bigint('fence', { mode: 'number' }).notNull().default(0),
    agent_id: uuid('agent_id'),
    /** The session that claimed it. */
    epoch: bigint('epoch', { mode: 'number' }),
    locked_by: uuid('locked_by'),
    waiting_reason: text('waiting_reason'),
    limits: jsonb('limits').$type<AppliedLimits>().notNull(),
    required_limits: jsonb('required_limits').$type<LimitName[]>().notNull(),
    labels: jsonb('labels').$type<Record<string, string>>().notNull(),
    /** Of a maintenance job that one agent is to do: only that agent may claim it. */
    target_agent_id: uuid('target_agent_id'),
    /** What it brings there: there is never more than one live job for it. */
    need_key: text('need_key'),
    /** The agent where it was locked last. Once that has what was missing, the job goes to no other until then. */
    preferred_agent_id: uuid('preferred_agent_id'),
    preferred_until: moment('preferred_until'),
    /** How often something was missing again there: what is brought again and again is no way forward. */
    times_locked: integer('times_locked').notNull().default(0),
    /** A `waiting` or `retrying` job is not claimed before this. */
    not_before: moment('not_before'),
    /** How long it may wait for an agent, from its submission and again from each retry. */
    expires_in_sec: doublePrecision('expires_in_sec'),
    expires_at: moment('expires_at'),
    cancel_requested_at: moment('cancel_requested_at'),
    /** Whole milliseconds, so that a cursor made of it is exact. */
    created_at: timestamp('created_at', { withTimezone: true, precision: 3 }).notNull(),
    assigned_at: moment('assigned_at'),
    /** Of the claim it has now: null until a start is stored. */
    started_at: moment('started_at'),
    ended_at: moment('ended_at'),
    error: text('error'),
  },
  (table) => [
    /**
     * The only index that claims use: work that no agent can take costs nothing to pass over, and what one key has
     * waiting costs nothing to pass over on the way to the next key. In queue 0: what is to be divided.
     */
    index('jobs_claimable')
      .on(table.queue_id, table.priority.desc().nullsFirst(), table.key_id, table.created_at, table.id)
      .where(sql`status = 'waiting'`),
    index('jobs_by_holder').on(table.agent_id).where(sql.raw(held)),
    index('jobs_retrying')
      .on(table.not_before)
      .where(sql`status = 'retrying'`),
    index('jobs_expiring')
      .on(table.expires_at)
      .where(sql`status in ('waiting', 'locked', 'retrying') and expires_at is not null`),
    index('jobs_locked')
      .on(table.locked_by)
      .where(sql`status = 'locked'`),
    /** One download an agent and image, one installation an agent and set, however many ask (the insert finds out). */
    uniqueIndex('jobs_one_maintenance')
      .on(table.target_agent_id, table.need_key)
      .where(sql`target_agent_id is not null and outcome is null`),
    index('jobs_maintenance_by_age')
      .on(table.created_at, table.id)
      .where(sql`type <> 'code.execute'`),
    index('jobs_by_age').on(table.created_at, table.id),
    /**
     * What became of jobs lately. Not "where outcome is not null": a look for one job by its id and outcome, as the
     * triggers have it, would then be planned through this index while that is small, and kept so.
     */
    index('jobs_by_end')
      .on(table.ended_at)
      .where(sql`ended_at is not null`),
    /** In a function (see the migration that makes it): PostgreSQL parses every CHECK anew in every statement. */
    check(
      'jobs_possible',
      sql`possible_job(type, status, outcome, agent_id, epoch, fence, locked_by, attempt, max_attempts, created_at, started_at, ended_at)`,
    ),
  ],
)

/** What a job has that is no execution. */
export const maintenance_jobs = pgTable('maintenance_jobs', {
  id: uuid('id')
    .primaryKey()
    .references(() => jobs.id, { onDelete: 'cascade' }),
  params: jsonb('params').$type<Record<string, unknown>>().notNull(),
  /** The newest that was told, and by which claim. */
  progress: jsonb('progress').$type<JobProgress>(),
  progress_fence: bigint('progress_fence', { mode: 'number' }),
  brought: jsonb('brought').$type<JobResult>(),
})

/** A job that callers ask for is done in parts, each by one agent; a part may be of several such jobs. */
export const job_parts = pgTable(
  'job_parts',
  {
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id, { onDelete: 'cascade' }),
    part_id: uuid('part_id')
      .notNull()
      .references(() => jobs.id, { onDelete: 'cascade' }),
  },
  (table) => [
    primaryKey({ columns: [table.job_id, table.part_id] }),
    index('job_parts_part').on(table.part_id),
  ],
)

/** Attempts that were followed by another. How the last one ended stands in `jobs`. */
export const job_attempts = pgTable(
  'job_attempts',
  {
    job_id: uuid('job_id')
      .notNull()
      .references(() => jobs.id, { onDelete: 'cascade' }),
    fence: bigint('fence', { mode: 'number' }).notNull(),
    attempt: integer('attempt').notNull(),
    outcome: text('outcome').$type<Outcome>().notNull(),
    error: text('error'),
    agent_id: uuid('agent_id'),
    ended_at: moment('ended_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.job_id, table.fence] })],
)

/** The validated submission as JSON in UTF-8: in bytes, since code may have NUL in it. */
export const execution_requests = pgTable('execution_requests', {
  id: uuid('id')
    .primaryKey()
    .references(() => jobs.id, { onDelete: 'cascade' }),
  body: bytea('body').notNull(),
  bytes: integer('bytes').notNull(),
  sha256: text('sha256').notNull(),
})
