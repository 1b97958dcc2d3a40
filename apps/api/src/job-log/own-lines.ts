import { type JobLogLine, type Outcome, isCompleted, shownLine } from '@errand/shared'
import type { StoredPart } from '../store/stored-job.ts'
import { type Source, claimSource, jobSource } from './log-position.ts'

/** A line of our own: of what is known of a job and its claims without anybody having written a log. */
export interface OwnLine extends Omit<JobLogLine, 'time'> {
  at: Date
  source: Source
  /** A bit of its own among those of the source, in `Reached.told`. */
  told: number
  /** Of the claim that it belongs to; 0 before the first, Infinity after the last. */
  fence: number
  /** What it tells the end of: that claim, and perhaps with it the job. */
  ends: 'claim' | 'job' | null
}

const ofJob = { submitted: 1, ended: 2 } as const
const ofClaim = { assigned: 1, started: 2, asked: 4, ended: 8 } as const

/** Of claims that were handed back nothing is known. */
export function ownLines(of: StoredPart, { isPart }: { isPart: boolean }): OwnLine[] {
  const { job, agent, attempts } = of
  const { outcome, error, fence } = job
  const ofItself = { source: jobSource(job.id), level: 'info', job_id: job.id } as const
  const claim = {
    source: claimSource(fence),
    fence,
    level: 'info',
    attempt: attemptOf(of, fence),
    job_id: job.id,
    ends: null,
  } as const
  const lines: OwnLine[] = attempts.map((one) => ({
    ...claim,
    at: one.ended_at,
    source: claimSource(one.fence),
    told: ofClaim.ended,
    fence: one.fence,
    ends: 'claim',
    level: 'warn',
    attempt: one.attempt,
    message: `attempt ${one.attempt} of ${job.max_attempts}: ${howItEnded(one)}`,
  }))
  const add = (at: Date | null, line: Omit<OwnLine, 'at'>) => void (at && lines.push({ ...line, at }))

  if (!isPart) {
    const message = `submitted: ${job.type} for ${job.executor_name}`
    add(job.created_at, { ...ofItself, told: ofJob.submitted, fence: 0, attempt: 0, ends: null, message })
  }
  if (job.agent_id !== null) {
    const message = `assigned to agent ${agent?.name ?? job.agent_id}`
    add(job.assigned_at, { ...claim, told: ofClaim.assigned, message })
  }
  add(job.started_at, { ...claim, told: ofClaim.started, message: 'started' })
  add(job.cancel_requested_at, { ...claim, told: ofClaim.asked, message: 'asked to end' })
  if (outcome !== null) {
    const end = { level: levelOf(outcome), ends: 'job', message: howItEnded({ outcome, error }) } as const
    // What no agent had when it ended is no end of a claim.
    if (job.agent_id !== null) add(job.ended_at, { ...claim, ...end, told: ofClaim.ended })
    else
      add(job.ended_at, {
        ...ofItself,
        ...end,
        told: ofJob.ended,
        fence: Infinity,
        attempt: job.attempt,
      })
  }
  return lines
}

function howItEnded({ outcome, error }: { outcome: Outcome; error: string | null }): string {
  return shownLine(error === null ? outcome : `${outcome}: ${error}`, 8_192)
}

/** A program that fails is no failure of ours. */
function levelOf(outcome: Outcome): JobLogLine['level'] {
  if (outcome === 'succeeded' || outcome === 'canceled') return 'info'
  return isCompleted(outcome) ? 'warn' : 'error'
}

/** The attempt that a claim was, or was to be. */
export function attemptOf({ job, attempts }: Pick<StoredPart, 'job' | 'attempts'>, fence: number): number {
  const ended = attempts.find((one) => one.fence === fence)
  if (ended !== undefined) return ended.attempt
  const next = (attempts.findLast((one) => one.fence < fence)?.attempt ?? 0) + 1
  return fence < job.fence ? next : Math.max(next, job.attempt)
}
