import type { RunResult } from '@errand/shared'
import type { FinishItem } from '../store/finish.ts'

/** The result of a claim that cannot be sent to its agent, such as when its secrets cannot be opened any more. */
export function unassignable(hostname: string): Pick<FinishItem, 'result' | 'inlineStdout' | 'inlineStderr'> {
  return { result: { ...result, hostname }, inlineStdout: new Uint8Array(), inlineStderr: new Uint8Array() }
}

const nothing = {
  bytes: 0,
  stored: 0,
  truncated: false,
  // of no bytes
  sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
}

const result: Omit<RunResult, 'hostname'> = {
  outcome: 'infra_error',
  phase: null,
  exit_code: null,
  signal: null,
  out_of_memory: false,
  error: 'the configuration or the secrets of its executor cannot be read; was ERRAND_SECRET_KEY changed?',
  runtime_id: null,
  container_id: null,
  start_time_ms: null,
  end_time_ms: null,
  duration_sec: null,
  prepare_ms: null,
  run_ms: null,
  usage: null,
  isolation: null,
  compile: null,
  stdout: nothing,
  stderr: nothing,
}
