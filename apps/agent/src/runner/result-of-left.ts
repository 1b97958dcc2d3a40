import { createHash } from 'node:crypto'
import { emptyResult } from '@errand/shared'
import type { RunResult, Stream, StreamTotals } from '@errand/shared'
import type { Spool, SpooledJob } from '../spool/spool.ts'

/** The result of a job that an agent left when it died, and that nobody goes on with: what it wrote is in the spool. */
export function resultOfLeft(
  job: SpooledJob,
  spool: Spool,
  hostname: string,
  ended: Pick<RunResult, 'outcome' | 'error'>,
): RunResult {
  const totals = (stream: Stream) => spooledTotals(spool.pieces(job, stream))
  return {
    ...emptyResult(hostname, { stdout: totals('stdout'), stderr: totals('stderr') }),
    ...ended,
    start_time_ms: job.startedAtMs,
  }
}

function spooledTotals(pieces: Iterable<Uint8Array>): StreamTotals {
  const hash = createHash('sha256')
  let stored = 0
  for (const bytes of pieces) {
    hash.update(bytes)
    stored += bytes.length
  }
  return { bytes: stored, stored, truncated: false, sha256: hash.digest('hex') }
}
