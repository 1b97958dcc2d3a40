import { type ExecutionRecord, type Outcome, type ExecutorType, type Phase } from '@errand/shared'
import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  doublePrecision,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  uuid,
} from 'drizzle-orm/pg-core'
import { bytea, oneOf } from '../columns.ts'
import { jobs } from './jobs.ts'

/**
 * How an execution ended: the seed's table and what architecture.md adds. Inserted once, when the execution becomes
 * final, and never changed; a trigger holds both.
 */
export const code_execution_results = pgTable(
  'code_execution_results',
  {
    id: uuid('id')
      .primaryKey()
      .references(() => jobs.id, { onDelete: 'cascade' }),
    executor_type: text('executor_type').$type<ExecutorType>().notNull(),
    executor_id: uuid('executor_id').notNull(),
    runtime_id: text('runtime_id').notNull(),
    /** The executor's name. */
    name: text('name').notNull(),
    config_id: uuid('config_id').notNull(),
    completed: boolean('completed').notNull(),
    success: boolean('success').notNull(),
    exit_code: integer('exit_code'),
    /** Null when the stream lies in `execution_output`. */
    stdout: bytea('stdout'),
    stderr: bytea('stderr'),
    hostname: text('hostname'),
    start_time_ms: bigint('start_time_ms', { mode: 'number' }),
    end_time_ms: bigint('end_time_ms', { mode: 'number' }),
    duration_sec: doublePrecision('duration_sec'),
    error: text('error'),
    outcome: text('outcome').$type<Outcome>().notNull(),
    phase: text('phase').$type<Phase>(),
    signal: text('signal'),
    out_of_memory: boolean('out_of_memory').notNull(),
    attempt: integer('attempt').notNull(),
    /** The claim that ended so; 0 when there was none. */
    fence: bigint('fence', { mode: 'number' }).notNull(),
    agent_id: uuid('agent_id'),
    container_id: text('container_id'),
    stdout_bytes: bigint('stdout_bytes', { mode: 'number' }).notNull(),
    stderr_bytes: bigint('stderr_bytes', { mode: 'number' }).notNull(),
    stdout_truncated: boolean('stdout_truncated').notNull(),
    stderr_truncated: boolean('stderr_truncated').notNull(),
    usage: jsonb('usage').$type<ExecutionRecord['usage']>(),
    isolation: jsonb('isolation').$type<ExecutionRecord['isolation']>(),
    timings: jsonb('timings').$type<ExecutionRecord['timings']>(),
    compile: jsonb('compile').$type<ExecutionRecord['compile']>(),
  },
  () => [
    /** As `jobs_possible`. */
    check(
      'results_possible',
      sql`possible_result(executor_type, completed, success, exit_code, stdout, stderr, start_time_ms, end_time_ms, outcome, phase, signal, out_of_memory, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated)`,
    ),
  ],
)

/** Output of runs that lasted longer than one message, in pieces. Another claim (fence) begins at 0 again. */
export const execution_output = pgTable(
  'execution_output',
  {
    execution_id: uuid('execution_id')
      .notNull()
      .references(() => jobs.id, { onDelete: 'cascade' }),
    fence: bigint('fence', { mode: 'number' }).notNull(),
    stream: text('stream', { enum: ['stdout', 'stderr'] }).notNull(),
    offset: bigint('offset', { mode: 'number' }).notNull(),
    bytes: bytea('bytes').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.execution_id, table.fence, table.stream, table.offset] }),
    check('output_stream', sql.raw(oneOf('stream', ['stdout', 'stderr']))),
    check('output_offset', sql`"offset" >= 0 and length(bytes) > 0`),
  ],
)
