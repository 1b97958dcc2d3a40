import { z } from 'zod'
import { compileReport, isolation, usage } from '../execution.ts'
import { jobResult } from '../job.ts'
import { outcome, phase } from '../status.ts'

/** One stream at its end. `sha256` (hex) and `stored` speak of the bytes sent, `bytes` of those the program wrote. */
export const streamTotals = z.object({
  bytes: z.int().min(0),
  stored: z.int().min(0),
  truncated: z.boolean(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})
export type StreamTotals = z.infer<typeof streamTotals>

/** How a run ended, as the agent saw it. Times are Unix milliseconds of the API's clock as the agent knows it. */
export const runResult = z.object({
  outcome,
  phase: phase.nullable(),
  exit_code: z.int().nullable(),
  signal: z.string().max(32).nullable(),
  out_of_memory: z.boolean(),
  error: z.string().max(8_192).nullable(),
  /** `python3.11.2`; null when it never got that far. */
  runtime_id: z.string().max(128).nullable(),
  hostname: z.string().max(253),
  container_id: z.string().max(128).nullable(),
  start_time_ms: z.int().nullable(),
  end_time_ms: z.int().nullable(),
  duration_sec: z.number().nullable(),
  prepare_ms: z.number().nullable(),
  run_ms: z.number().nullable(),
  usage: usage.nullable(),
  isolation: isolation.nullable(),
  compile: compileReport.nullable(),
  stdout: streamTotals,
  stderr: streamTotals,
  /** Of a maintenance job that succeeded. */
  brought: jobResult.nullable().default(null),
})
export type RunResult = z.infer<typeof runResult>

/** A stream without a byte. */
const nothing: StreamTotals = {
  bytes: 0,
  stored: 0,
  truncated: false,
  sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
}

/** The result that a run would have if nothing had happened yet; the ways to end fill it in. */
export function emptyResult(
  hostname: string,
  totals: { stdout: StreamTotals; stderr: StreamTotals } = { stdout: nothing, stderr: nothing },
): Omit<RunResult, 'outcome'> {
  return {
    phase: null,
    exit_code: null,
    signal: null,
    out_of_memory: false,
    error: null,
    runtime_id: null,
    hostname,
    container_id: null,
    start_time_ms: null,
    end_time_ms: null,
    duration_sec: null,
    prepare_ms: null,
    run_ms: null,
    usage: null,
    isolation: null,
    compile: null,
    brought: null,
    ...totals,
  }
}
