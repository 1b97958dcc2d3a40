import type { RunResult, StreamTotals } from '@errand/shared'
import { storableJson } from './storable-text.ts'

/**
 * A result as the database can hold it. An agent that tells what cannot be (exit code 1 and `succeeded`) is at fault,
 * not the user's code: then it is `infra_error` in words, and the agent is not left to send it for ever.
 */
export function believable(result: RunResult): RunResult {
  const given = storableJson(result)
  const reason = impossibility(given)
  if (reason === undefined) return given
  return {
    ...given,
    outcome: 'infra_error',
    phase: null,
    exit_code: null,
    signal: null,
    error: `the agent told an impossible result: ${reason}`,
    start_time_ms: possibleTime(given.start_time_ms),
    end_time_ms: possibleTime(given.end_time_ms),
    stdout: agreeing(given.stdout),
    stderr: agreeing(given.stderr),
  }
}

function impossibility(given: RunResult): string | undefined {
  const { outcome, exit_code, signal } = given
  if (outcome === 'succeeded' && exit_code !== 0) return 'succeeded without exit code 0'
  if (outcome === 'failed' && given.phase === null) return 'failed in no phase'
  if (outcome === 'out_of_memory' && !given.out_of_memory) return 'out of memory and yet not'
  if (signal !== null && exit_code !== null) return 'an exit code and a signal'
  if (exit_code !== null && Math.abs(exit_code) > 2 ** 31 - 1) return 'an exit code beyond 32 bits'
  for (const one of [given.stdout, given.stderr])
    if (one.stored > one.bytes || one.truncated !== one.bytes > one.stored)
      return 'more output stored than written, or truncated and whole'
  for (const time of [given.start_time_ms, given.end_time_ms])
    if (time !== possibleTime(time)) return 'a time that no calendar has'
  if (given.start_time_ms === null && given.end_time_ms !== null) return 'an end without a start'
  return undefined
}

function agreeing(totals: StreamTotals): StreamTotals {
  return { ...totals, bytes: totals.stored, truncated: false }
}

/** Between 1970 and what JavaScript's Date and PostgreSQL both can say. */
function possibleTime(ms: number | null): number | null {
  return ms === null ? null : Math.min(Math.max(ms, 0), 8.64e15)
}
