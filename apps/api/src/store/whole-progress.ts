import { isFinal, jobProgress, type JobProgress, type JobResult } from '@errand/shared'
import type { StoredJob, StoredPart } from './stored-job.ts'

const phases = jobProgress.shape.phase.options

/**
 * How far a job is; one in parts as far as all of them: in the phase of the least advanced one, with the sums of their
 * bytes and speeds and the mean of their percentages, where all of these are known. Null before anything is known.
 */
export function progressOf({ parts, ...own }: StoredJob): JobProgress | null {
  if (parts.length === 0) return progressOfOne(own)
  const all = parts.map(progressOfOne)
  if (all.every((one) => one === null)) return null
  const told = all.map((one) => one ?? unbegun)
  const percent = sumOf(told.map((one) => one.percent))
  const speeds = told.map((one) => one.bytes_per_sec).filter((speed) => speed !== null)
  return {
    phase: phases[Math.min(...told.map(({ phase }) => phases.indexOf(phase)))]!,
    bytes_done: sumOf(told.map(({ bytes_done }) => bytes_done))!,
    bytes_total: sumOf(told.map(({ bytes_total }) => bytes_total)),
    percent: percent === null ? null : percent / told.length,
    bytes_per_sec: speeds.length === 0 ? null : sumOf(speeds),
  }
}

/** The last word of an agent may be lost: what has succeeded is done, and what has ended fetches nothing. */
function progressOfOne({ job, progress }: StoredPart): JobProgress | null {
  if (!isFinal(job.status)) return progress
  if (job.outcome !== 'succeeded') return progress && { ...progress, bytes_per_sec: null }
  const bytes = progress?.bytes_total ?? progress?.bytes_done ?? 0
  return { phase: 'done', bytes_done: bytes, bytes_total: bytes, percent: 100, bytes_per_sec: null }
}

const unbegun: JobProgress = {
  phase: 'resolving',
  bytes_done: 0,
  bytes_total: null,
  percent: null,
  bytes_per_sec: null,
}

/** Null where one of them is unknown. */
function sumOf(numbers: readonly (number | null)[]): number | null {
  return numbers.reduce((sum, one) => (sum === null || one === null ? null : sum + one), 0)
}

/** What a job has brought; one in parts, all of them together. Null before it has succeeded. */
export function resultOf({ job, result, parts }: StoredJob): JobResult | null {
  const results = parts.map((one) => one.result)
  if (result !== null || job.outcome !== 'succeeded' || results.length === 0) return result
  const all = results.filter((one) => one !== null)
  const digests = new Set(all.map(({ digest }) => digest))
  return {
    // On hosts of different kinds the same name may mean different images.
    digest: digests.size === 1 ? [...digests][0]! : null,
    bytes: all.reduce((sum, one) => sum + one.bytes, 0),
    already_there: all.every((one) => one.already_there),
    took_ms: Math.max(0, ...all.map((one) => one.took_ms)),
  }
}
