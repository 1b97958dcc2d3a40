import type {
  AppliedLimits,
  ExecutionRecord,
  ExecutionSummary,
  ExecutorType,
  JobType,
  LimitName,
  Outcome,
  Phase,
  RuntimeName,
  Status,
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

export function toRecord(row: ExecutionRow): ExecutionRecord {
  throw new Error(`to come ${row.id}`)
}

export function toSummary(row: ExecutionRow): ExecutionSummary {
  throw new Error(`to come ${row.id}`)
}
