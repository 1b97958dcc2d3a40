import type { ExecutionRow } from './execution-row.ts'

type Columns = readonly (keyof ExecutionRow)[]

const ofJob = [
  'id',
  'type',
  'status',
  'outcome',
  'project',
  'key_id',
  'queue_id',
  'executor_id',
  'executor_name',
  'executor_type',
  'config_id',
  'runtime',
  'priority',
  'attempt',
  'max_attempts',
  'fence',
  'agent_id',
  'epoch',
  'locked_by',
  'waiting_reason',
  'limits',
  'required_limits',
  'labels',
  'cancel_requested_at',
  'not_before',
  'expires_at',
  'created_at',
  'assigned_at',
  'started_at',
  'ended_at',
  'error',
] as const satisfies Columns

const ofResult = [
  'runtime_id',
  'exit_code',
  'phase',
  'signal',
  'hostname',
  'container_id',
  'start_time_ms',
  'end_time_ms',
  'duration_sec',
  'usage',
  'isolation',
  'timings',
] as const satisfies Columns

const ofResultOrNothing = {
  out_of_memory: 'false',
  stdout_bytes: '0::bigint',
  stderr_bytes: '0::bigint',
  stdout_truncated: 'false',
  stderr_truncated: 'false',
} as const satisfies Partial<Record<keyof ExecutionRow, string>>

const large = ['stdout', 'stderr', 'compile'] as const satisfies Columns

/**
 * The select list of an `ExecutionRow`: `job` and `result` are the names its tables have in the statement; the
 * result may be missing in an outer join. `without` leaves what is large null.
 */
export function executionColumns(
  job: string,
  result: string,
  without: readonly (typeof large)[number][] = [],
): string {
  return [
    ...ofJob.map((one) => `${job}.${one}`),
    ...ofResult.map((one) => `${result}.${one}`),
    ...Object.entries(ofResultOrNothing).map(
      ([one, absent]) => `coalesce(${result}.${one}, ${absent}) as ${one}`,
    ),
    ...large.map((one) => (without.includes(one) ? `null as ${one}` : `${result}.${one}`)),
  ].join(', ')
}

/** The same for a job that has no result yet. */
export function liveColumns(job: string): string {
  return [
    ...ofJob.map((one) => `${job}.${one}`),
    ...[...ofResult, ...large].map((one) => `null as ${one}`),
    ...Object.entries(ofResultOrNothing).map(([one, absent]) => `${absent} as ${one}`),
  ].join(', ')
}
