import { sizeLimits } from '@errand/shared'
import type { CompileReport, Outcome, RunResult } from '@errand/shared'
import type { RunEnd, StopReason } from '../backends/backend.ts'

/** The one place where an outcome is chosen: why we ended it, or else how the program did. */
export function outcomeOf(end: RunEnd, stopped: StopReason | null): Outcome {
  if (stopped) return outcomeOfStop[stopped]
  if (end.killed_for) return outcomeOfLimit[end.killed_for]
  return end.exit_code === 0 && end.signal === null ? 'succeeded' : 'failed'
}

const outcomeOfLimit: Record<NonNullable<RunEnd['killed_for']>, Outcome> = {
  memory: 'out_of_memory',
  cpu_time: 'timed_out',
  wall_time: 'timed_out',
  output_limit: 'output_limit',
}

export const outcomeOfStop: Record<StopReason, Outcome> = {
  canceled: 'canceled',
  timed_out: 'timed_out',
  output_limit: 'output_limit',
  lease_lost: 'lost',
  shutdown: 'infra_error',
}

/** What the record's `error` says of each; null where outcome and limits say it all. */
export const errorOfStop: Record<StopReason, string | null> = {
  canceled: null,
  timed_out: null,
  output_limit: null,
  lease_lost: 'the agent ended it: it could not reach the API for too long',
  shutdown: 'the agent was stopped while it ran',
}

/** Clocks tell more digits than they know: times in seconds get 6 decimals, those in milliseconds 3, as do megabytes. */
export function rounded(result: RunResult): RunResult {
  const { duration_sec, prepare_ms, run_ms, compile, usage } = result
  return {
    ...result,
    duration_sec: toDecimals(duration_sec, 6),
    prepare_ms: toDecimals(prepare_ms, 3),
    run_ms: toDecimals(run_ms, 3),
    usage: usage && {
      cpu_time_sec: toDecimals(usage.cpu_time_sec, 6),
      peak_memory_mb: toDecimals(usage.peak_memory_mb, 3),
    },
    compile: compile && { ...compile, duration_sec: toDecimals(compile.duration_sec, 6) },
  }
}

function toDecimals<T extends number | null>(value: T, digits: number): T {
  return (value === null ? null : Number(value.toFixed(digits))) as T
}

/** Error texts as the protocol takes them, and small enough for a frame: one line, at most 8,192 UTF-16 units. */
export function errorText(text: string): string {
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .slice(0, 8_192)
    .toWellFormed()
}

/**
 * A compile report that fits into the final frame beside its output: characters that JSON escapes can make 64 KiB six
 * times as long.
 */
export function fittingReport(report: CompileReport | null): CompileReport | null {
  if (!report || Buffer.byteLength(JSON.stringify(report)) <= compileReportBytes) return report
  const half = (text: string) => text.slice(0, text.length / 2).toWellFormed()
  return fittingReport({
    ...report,
    stdout: half(report.stdout),
    stderr: half(report.stderr),
    truncated: true,
  })
}

const compileReportBytes = sizeLimits.frame - sizeLimits.outputChunk - 32 * 1024
