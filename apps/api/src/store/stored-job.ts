import type { Job, JobAttempt, JobPart, JobSummary } from '@errand/shared'
import type { ExecutionRow } from './execution-row.ts'
import { progressOf, resultOf } from './whole-progress.ts'

/** One job with what belongs to it alone. */
export interface StoredPart extends Pick<JobSummary, 'params' | 'progress' | 'result'> {
  /** Without anything of a result. */
  job: ExecutionRow
  /** The agent that has it, had it last, or is to do it. Its name is null once it is gone. */
  agent: { id: string; name: string | null } | null
  /** Those that were followed by another, oldest first. */
  attempts: readonly EndedAttempt[]
}

/** A job with its parts: executions and parts have none. */
export interface StoredJob extends StoredPart {
  parts: readonly StoredPart[]
}

export interface EndedAttempt extends Omit<JobAttempt, 'ended_at'> {
  /** The claim that ended so. */
  fence: number
  ended_at: Date
}

/** A job as REST shows it. */
export function toJob(stored: StoredJob): Job {
  const attempts = allAttempts(stored).map(({ fence: _fence, ended_at, ...one }) => ({
    ...one,
    ended_at: ended_at.toISOString(),
  }))
  return { ...toJobSummary(stored), attempts, parts: stored.parts.map(toPart) }
}

export function toJobSummary(stored: StoredJob): JobSummary {
  const { job, params } = stored
  return {
    id: job.id,
    type: job.type,
    status: job.status,
    outcome: job.outcome,
    code_executor: job.executor_name,
    executor_type: job.executor_type,
    attempt: job.attempt,
    max_attempts: job.max_attempts,
    timeout_sec: job.limits.timeout_sec,
    agent_id: job.agent_id,
    locked_by: job.locked_by,
    waiting_reason: job.waiting_reason,
    error: job.error,
    params,
    progress: progressOf(stored),
    result: resultOf(stored),
    created_at: job.created_at.toISOString(),
    started_at: job.started_at?.toISOString() ?? null,
    ended_at: job.ended_at?.toISOString() ?? null,
  }
}

function toPart(part: StoredPart): JobPart {
  const { job, agent, result } = part
  return {
    id: job.id,
    agent_id: agent!.id,
    agent: agent!.name,
    status: job.status,
    outcome: job.outcome,
    error: job.error,
    progress: progressOf({ ...part, parts: [] }),
    result,
  }
}

/** With the last one, where it has ended: numbers of attempts rise, and what ends without an agent ends no attempt. */
function allAttempts({ job, attempts }: StoredPart): readonly EndedAttempt[] {
  const { outcome, agent_id, ended_at, attempt, fence, error } = job
  const before = attempts.at(-1)?.attempt ?? 0
  if (outcome === null || ended_at === null || agent_id === null || attempt <= before) return attempts
  return [...attempts, { attempt, outcome, error, agent_id, ended_at, fence }]
}
