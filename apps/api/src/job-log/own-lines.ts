import { type JobLogLine, type Outcome, isCompleted, shownLine } from '@errand/shared'
import type { StoredPart } from '../store/stored-job.ts'
import { type Source, claimSource, jobSource } from './log-position.ts'

/** A line of our own: of what is known of a job and its claims without anybody having written a log. */
export interface OwnLine extends Omit<JobLogLine, 'time'> {
  at: Date
  source: Source
  /** A bit of its own among those of the source, in `Reached.told`. */
  told: number
  /** It tells of the end of its source. */
  ends: boolean
}

const ofJob = { submitted: 1, ended: 2 } as const
const ofClaim = { assigned: 1, started: 2, asked: 4, ended: 8 } as const

/** Of claims that were handed back nothing is known. */
export function ownLines(of: StoredPart, { isPart }: { isPart: boolean }): OwnLine[] {
  const { job, agent, attempts } = of
  const attempt = attemptOf(of, job.fence)
  const lines: OwnLine[] = []
  add(isPart ? null : job.created_at, jobSource(job.id), ofJob.submitted, {
    attempt: 0,
    message: `submitted: ${job.type} for ${job.executor_name}`,
  })
  for (const one of attempts)
    add(one.ended_at, claimSource(one.fence), ofClaim.ended, {
      level: 'warn',
      attempt: one.attempt,
      message: `attempt ${one.attempt} of ${job.max_attempts}: ${howItEnded(one)}`,
    })
  const claim = claimSource(job.fence)
  add(job.assigned_at, claim, ofClaim.assigned, {
    attempt,
    message: `assigned to agent ${agent?.name ?? agent?.id}`,
  })
  add(job.started_at, claim, ofClaim.started, { attempt, message: 'started' })
  add(job.cancel_requested_at, claim, ofClaim.asked, { attempt, message: 'asked to end' })
  const { outcome, error, agent_id } = job
  if (outcome !== null) {
    const end = { level: levelOf(outcome), message: howItEnded({ outcome, error }) }
    // What no agent had when it ended is no end of a claim.
    if (agent_id === null) add(job.ended_at, jobSource(job.id), ofJob.ended, { ...end, attempt: job.attempt })
    else add(job.ended_at, claim, ofClaim.ended, { ...end, attempt })
  }
  return lines

  function add(
    at: Date | null,
    source: Source,
    told: number,
    line: Pick<OwnLine, 'attempt' | 'message'> & Partial<Pick<OwnLine, 'level'>>,
  ): void {
    if (at === null) return
    const ends = told === (source.startsWith('j') ? ofJob.ended : ofClaim.ended)
    lines.push({ level: 'info', ...line, at, source, told, ends, job_id: job.id })
  }
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
