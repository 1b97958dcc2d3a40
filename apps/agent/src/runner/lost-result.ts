import { createHash } from 'node:crypto'
import { emptyResult } from '@errand/shared'
import type { RunResult, Stream, StreamTotals } from '@errand/shared'
import type { Spool, SpooledJob } from '../spool/spool.ts'

/** The result of a job whose program may have run when the agent before this one died: what it wrote is in the spool. */
export function lostResult(job: SpooledJob, spool: Spool, hostname: string): RunResult {
  const ends = spool.ends(job)
  const totals = (stream: Stream) => spooledTotals(job, spool, stream, ends[stream])
  return {
    ...emptyResult(hostname, { stdout: totals('stdout'), stderr: totals('stderr') }),
    outcome: 'lost',
    start_time_ms: job.startedAtMs,
    error: 'the agent died while it ran; what it wrote last may be missing',
  }
}

function spooledTotals(job: SpooledJob, spool: Spool, stream: Stream, end: number): StreamTotals {
  const hash = createHash('sha256')
  for (let offset = 0; offset < end;) {
    const bytes = spool.read(job, stream, offset)
    if (bytes.length === 0) throw new Error('the spool has a gap in its output')
    hash.update(bytes)
    offset += bytes.length
  }
  return { bytes: end, stored: end, truncated: false, sha256: hash.digest('hex') }
}
