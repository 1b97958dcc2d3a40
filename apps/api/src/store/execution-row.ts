import {
  sizeLimits,
  isCompleted,
  type AppliedLimits,
  type ExecutionRecord,
  type ExecutionSummary,
  type ExecutorType,
  type JobType,
  type LimitName,
  type Outcome,
  type Phase,
  type RuntimeName,
  type Status,
} from '@errand/shared'

/** A job, its executor's name, and its result where it has one. The names are those of the columns. */
export interface ExecutionRow {
  id: string
  type: JobType
  status: Status
  outcome: Outcome | null
  project: string
  key_id: string
  queue_id: number
  executor_id: string
  executor_name: string
  executor_type: ExecutorType
  config_id: string
  runtime: RuntimeName
  priority: number
  attempt: number
  max_attempts: number
  fence: number
  agent_id: string | null
  epoch: number | null
  locked_by: string | null
  waiting_reason: string | null
  limits: AppliedLimits
  required_limits: LimitName[]
  labels: Record<string, string>
  cancel_requested_at: Date | null
  not_before: Date | null
  expires_at: Date | null
  created_at: Date
  assigned_at: Date | null
  started_at: Date | null
  ended_at: Date | null
  error: string | null
  /** What is known only with the result. */
  runtime_id: string | null
  exit_code: number | null
  phase: Phase | null
  signal: string | null
  out_of_memory: boolean
  hostname: string | null
  container_id: string | null
  start_time_ms: number | null
  end_time_ms: number | null
  duration_sec: number | null
  /** Null while the output lies in chunks: `withOutput` reads it. */
  stdout: Uint8Array | null
  stderr: Uint8Array | null
  stdout_bytes: number
  stderr_bytes: number
  stdout_truncated: boolean
  stderr_truncated: boolean
  usage: ExecutionRecord['usage']
  isolation: ExecutionRecord['isolation']
  timings: ExecutionRecord['timings']
  compile: ExecutionRecord['compile']
}

/** Whether it is there, an execution, and of this project (null: any). */
export function isExecutionSeenBy(
  row: ExecutionRow | undefined,
  project: string | null,
): row is ExecutionRow {
  return row?.type === 'code.execute' && (project === null || row.project === project)
}

/** A record as REST shows it. Bytes that are no UTF-8 are shown as U+FFFD; a byte order mark stays. */
export function toRecord(row: ExecutionRow): ExecutionRecord {
  return { ...toSummary(row), stdout: textOf(row.stdout), stderr: textOf(row.stderr), compile: row.compile }
}

export function toSummary(row: ExecutionRow): ExecutionSummary {
  const { outcome } = row
  return {
    id: row.id,
    executor_type: row.executor_type,
    executor_id: row.executor_id,
    runtime_id: row.runtime_id ?? row.runtime,
    name: row.executor_name,
    config_id: row.config_id,
    completed: outcome !== null && isCompleted(outcome),
    success: outcome === 'succeeded',
    exit_code: row.exit_code,
    hostname: row.hostname,
    start_time_ms: row.start_time_ms,
    end_time_ms: row.end_time_ms,
    duration_sec: row.duration_sec,
    error: row.error,
    status: row.status,
    outcome,
    phase: row.phase,
    signal: row.signal,
    out_of_memory: row.out_of_memory,
    attempt: row.attempt,
    agent_id: row.agent_id,
    container_id: row.container_id,
    waiting_reason: row.waiting_reason,
    locked_by: row.locked_by,
    stdout_bytes: row.stdout_bytes,
    stderr_bytes: row.stderr_bytes,
    stdout_truncated: row.stdout_truncated,
    stderr_truncated: row.stderr_truncated,
    limits: row.limits,
    usage: row.usage,
    isolation: row.isolation,
    timings: row.timings,
    labels: row.labels,
    priority: row.priority,
    batch_id: null,
    created_at: row.created_at.toISOString(),
  }
}

function textOf(bytes: Uint8Array | null): string {
  return bytes === null
    ? ''
    : new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(0, sizeLimits.recordOutput))
}
