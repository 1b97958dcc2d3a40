import { emptyResult } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { encodeFrame, sizeLimits } from '@errand/shared'
import type { RunEnd } from '../backends/backend.ts'
import { errorText, fittingReport, outcomeOf, rounded } from './result.ts'

const end = (given: Partial<RunEnd>) =>
  ({ exit_code: null, signal: null, killed_for: null, ...given }) as RunEnd

describe('outcomeOf', () => {
  it.each([
    [{ exit_code: 0 }, null, 'succeeded'],
    [{ exit_code: 137 }, null, 'failed'],
    [{ signal: 'SIGSEGV' }, null, 'failed'],
    [{ signal: 'SIGKILL', killed_for: 'memory' }, null, 'out_of_memory'],
    [{ signal: 'SIGKILL', killed_for: 'cpu_time' }, null, 'timed_out'],
    [{ exit_code: 0, out_of_memory: true }, null, 'succeeded'],
    [{ signal: 'SIGKILL' }, 'timed_out', 'timed_out'],
    [{ exit_code: 0 }, 'canceled', 'canceled'],
    [{ signal: 'SIGKILL' }, 'output_limit', 'output_limit'],
    [{ signal: 'SIGKILL' }, 'lease_lost', 'lost'],
    [{ signal: 'SIGKILL' }, 'shutdown', 'infra_error'],
  ] as const)('of %o, stopped for %s, is %s', (given, stopped, outcome) => {
    expect(outcomeOf(end(given), stopped)).toBe(outcome)
  })
})

it('rounds durations, and leaves what there is not', () => {
  const none = { bytes: 0, stored: 0, truncated: false, sha256: '0'.repeat(64) }
  const empty = { ...emptyResult('host', { stdout: none, stderr: none }), outcome: 'lost' as const }
  expect(rounded(empty)).toEqual(empty)
  const duration_sec = 0.0257296660002321
  const compile = { exit_code: 0, signal: null, duration_sec, stdout: '', stderr: '', truncated: false }
  const usage = { cpu_time_sec: 0.018167000000000003, peak_memory_mb: null }
  expect(
    rounded({ ...empty, duration_sec, prepare_ms: 1.23456, run_ms: 25.7296660002321, compile, usage }),
  ).toMatchObject({
    duration_sec: 0.02573,
    usage: { cpu_time_sec: 0.018167, peak_memory_mb: null },
    prepare_ms: 1.235,
    run_ms: 25.73,
    compile: { duration_sec: 0.02573 },
  })
})

describe('a final frame', () => {
  it('holds the worst compile report, error and inline output', () => {
    const worst = '\u0001'.repeat(sizeLimits.compileOutput)
    const report = {
      exit_code: 1,
      signal: null,
      duration_sec: 1,
      stdout: worst,
      stderr: worst,
      truncated: false,
    }
    const message = { compile: fittingReport(report), error: errorText('\u0001\ud800ä'.repeat(10_000)) }
    const frame = encodeFrame(message, new Uint8Array(sizeLimits.outputChunk))
    expect(frame.length).toBeLessThan(sizeLimits.frame - 4_096)
    expect(message.compile?.truncated).toBe(true)
  })

  it('leaves an ordinary compile report as it is', () => {
    const report = {
      exit_code: 1,
      signal: null,
      duration_sec: 1,
      stdout: '',
      stderr: 'x'.repeat(sizeLimits.compileOutput),
      truncated: false,
    }
    expect(fittingReport(report)).toBe(report)
  })
})
