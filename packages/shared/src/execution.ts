import { z } from 'zod'
import { executorType } from './executor-config.ts'
import { appliedLimits } from './limits.ts'
import { outcome, phase, status } from './status.ts'
import { labels } from './text.ts'

/**
 * What isolation a run really had (promise 8). `sandbox`: what stood between the program and the host.
 * `remote_shell`: as `remote`, where our box cannot run; what leaves session and environment may outlive the run.
 * Each layer is true only where it was in force for this run.
 */
export const isolation = z.strictObject({
  sandbox: z.enum(['none', 'bubblewrap', 'container', 'remote', 'remote_shell']),
  /** Ran under a uid of its own, not the agent's. */
  own_uid: z.boolean(),
  mount_namespace: z.boolean(),
  pid_namespace: z.boolean(),
  network: z.enum(['none', 'bridge', 'host']),
  cgroup: z.boolean(),
  seccomp: z.boolean(),
})
export type Isolation = z.infer<typeof isolation>

/** The compile step of languages that have one. Its output is text, cut at 64 KiB a stream. */
export const compileReport = z.strictObject({
  exit_code: z.int().nullable(),
  signal: z.string().nullable(),
  duration_sec: z.number(),
  stdout: z.string(),
  stderr: z.string(),
  truncated: z.boolean(),
})
export type CompileReport = z.infer<typeof compileReport>

export const usage = z.strictObject({
  cpu_time_sec: z.number().nullable(),
  peak_memory_mb: z.number().nullable(),
})
export const timings = z.strictObject({
  queued_ms: z.number().nullable(),
  prepare_ms: z.number().nullable(),
  run_ms: z.number().nullable(),
})

/**
 * The record of an execution: the seed's CodeExecutionResult and what architecture.md adds. Everything that is
 * known only at the end is null before it. `stdout` and `stderr` are text for reading (invalid bytes as U+FFFD, of
 * each the first 4 MiB); the exact bytes are at `/executions/{id}/stdout` and `/stderr`.
 */
export const executionRecord = z.strictObject({
  id: z.uuid(),
  executor_type: executorType,
  executor_id: z.uuid(),
  /** The runtime, with its version once it has run: `python3.11.2`. */
  runtime_id: z.string(),
  /** The executor's name. */
  name: z.string(),
  config_id: z.uuid(),
  completed: z.boolean(),
  success: z.boolean(),
  exit_code: z.int().nullable(),
  stdout: z.string(),
  stderr: z.string(),
  hostname: z.string().nullable(),
  start_time_ms: z.int().nullable(),
  end_time_ms: z.int().nullable(),
  /** Compile and run. */
  duration_sec: z.number().nullable(),
  error: z.string().nullable(),
  status,
  outcome: outcome.nullable(),
  phase: phase.nullable(),
  /** The name of the signal that ended the program (`SIGSEGV`); then `exit_code` is null. */
  signal: z.string().nullable(),
  out_of_memory: z.boolean(),
  /** Starts so far, and claims that ended without proof that they never started. */
  attempt: z.int(),
  agent_id: z.uuid().nullable(),
  container_id: z.string().nullable(),
  waiting_reason: z.string().nullable(),
  locked_by: z.uuid().nullable(),
  /** True bytes that the program wrote and we read; what is stored is a prefix when `truncated`. */
  stdout_bytes: z.int(),
  stderr_bytes: z.int(),
  stdout_truncated: z.boolean(),
  stderr_truncated: z.boolean(),
  limits: appliedLimits,
  usage: usage.nullable(),
  isolation: isolation.nullable(),
  timings: timings.nullable(),
  compile: compileReport.nullable(),
  labels,
  priority: z.int(),
  batch_id: z.uuid().nullable(),
  created_at: z.iso.datetime(),
})
export type ExecutionRecord = z.infer<typeof executionRecord>

/** A row of `GET /executions`: the record without output. */
export const executionSummary = executionRecord.omit({ stdout: true, stderr: true, compile: true })
export type ExecutionSummary = z.infer<typeof executionSummary>

/** The events of `GET /executions/{id}/events`, by their SSE names. Offsets are bytes of the attempt's stream. */
export interface ExecutionEvents {
  status: { id: string; status: z.infer<typeof status>; attempt: number; waiting_reason: string | null }
  /** `text` is for reading; `base64` are the exact bytes. */
  output: { stream: 'stdout' | 'stderr'; attempt: number; offset: number; base64: string }
  /** The last event; then the server ends the stream. */
  end: ExecutionRecord
}
