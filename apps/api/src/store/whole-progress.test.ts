import type { JobProgress, JobResult, Outcome, Status } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { ExecutionRow } from './execution-row.ts'
import type { StoredJob, StoredPart } from './stored-job.ts'
import { progressOf, resultOf } from './whole-progress.ts'

const progress = (more: Partial<JobProgress> = {}): JobProgress => ({
  phase: 'downloading',
  bytes_done: 10,
  bytes_total: 20,
  percent: 50,
  bytes_per_sec: 100,
  ...more,
})
const brought = (more: Partial<JobResult> = {}): JobResult => ({
  digest: 'sha256:a',
  bytes: 5,
  already_there: true,
  took_ms: 3,
  ...more,
})
const part = (
  status: Status,
  outcome: Outcome | null = null,
  more: Partial<Pick<StoredPart, 'progress' | 'result'>> = {},
): StoredPart => ({
  job: { status, outcome } as ExecutionRow,
  params: {},
  progress: null,
  result: null,
  agent: null,
  attempts: [],
  ...more,
})
const whole = (parts: StoredPart[], outcome: Outcome | null = null): StoredJob => ({
  ...part(outcome === null ? 'locked' : 'completed', outcome),
  parts,
})

describe('the progress of a job in parts', () => {
  it('is unknown before anything is known', () => {
    expect(progressOf(whole([]))).toBeNull()
    expect(progressOf(whole([part('waiting'), part('assigned')]))).toBeNull()
  })

  it('is in the phase of the least advanced, with sums, and the mean of percentages', () => {
    const parts = [
      part('running', null, { progress: progress() }),
      part('running', null, {
        progress: progress({ phase: 'extracting', percent: 90, bytes_per_sec: null }),
      }),
      part('completed', 'succeeded', { progress: progress({ percent: 97 }) }),
    ]
    expect(progressOf(whole(parts))).toEqual({
      phase: 'downloading',
      bytes_done: 40,
      bytes_total: 60,
      percent: 80,
      bytes_per_sec: 100,
    })
  })

  it('has no percentage and no total while those of one part are unknown', () => {
    const some = part('running', null, { progress: progress() })
    expect(progressOf(whole([some, part('waiting')]))).toMatchObject({
      phase: 'resolving',
      bytes_done: 10,
      bytes_total: null,
      percent: null,
    })
  })

  it('is done when it has succeeded, also where the last word of an agent was lost', () => {
    const parts = [
      part('completed', 'succeeded', { progress: progress() }),
      part('completed', 'succeeded', { progress: progress({ bytes_total: null, percent: null }) }),
      part('completed', 'succeeded'),
    ]
    expect(progressOf(whole(parts, 'succeeded'))).toEqual({
      phase: 'done',
      bytes_done: 30,
      bytes_total: 30,
      percent: 100,
      bytes_per_sec: null,
    })
  })

  it('stays where it was when it has failed, and fetches nothing then', () => {
    const failed = part('failed', 'infra_error', { progress: progress() })
    expect(progressOf(whole([failed], 'infra_error'))).toEqual({ ...progress(), bytes_per_sec: null })
  })
})

describe('the result of a job in parts', () => {
  const done = (more: Partial<JobResult> = {}) => part('completed', 'succeeded', { result: brought(more) })

  it('is that of all together, with the digest that they agree on', () => {
    const parts = [done(), done({ already_there: false, took_ms: 8, bytes: 7 })]
    expect(resultOf(whole(parts, 'succeeded'))).toEqual(
      brought({ bytes: 12, already_there: false, took_ms: 8 }),
    )
    expect(resultOf(whole([done(), done({ digest: 'sha256:b' })], 'succeeded'))).toMatchObject({
      digest: null,
    })
  })

  it('is none before all have succeeded', () => {
    expect(resultOf(whole([done(), part('running')]))).toBeNull()
    expect(resultOf(whole([done(), part('failed', 'lost')], 'lost'))).toBeNull()
  })
})
