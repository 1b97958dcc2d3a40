import { statusOfOutcome } from '@errand/shared'
import { isHeld } from './is-held.ts'

/**
 * How jobs end of which no agent told the result: the only place where such results are written. Everything here is
 * SQL text to be put into a statement that says which jobs those are.
 */

/** Inserts the results of the rows of `ended` (whole rows of `jobs`) that are final. */
export function insertResultsOf(ended: string): string {
  return `
  insert into code_execution_results (id, executor_type, executor_id, runtime_id, name, config_id, completed, success,
    stdout, stderr, start_time_ms, end_time_ms, error, outcome, out_of_memory, attempt, fence, agent_id,
    stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated)
  select e.id, e.executor_type, e.executor_id, e.runtime, e.executor_name, e.config_id, false, false,
    case when s.stdout = 0 then ''::bytea end, case when s.stderr = 0 then ''::bytea end,
    floor(extract(epoch from e.started_at) * 1000),
    case when e.started_at is not null then floor(extract(epoch from e.ended_at) * 1000) end,
    e.error, e.outcome, false, e.attempt, e.fence, e.agent_id, s.stdout, s.stderr, false, false
  from ${ended} e cross join lateral (${storedBytes('e.id', 'e.fence')}) s
  where e.outcome is not null and e.type = 'code.execute'
  returning *`
}

/** One row: how many bytes of each stream are stored in chunks for this claim. */
export function storedBytes(id: string, fence: string): string {
  return `
    select coalesce(sum(length(o.bytes)) filter (where o.stream = 'stdout'), 0)::bigint as stdout,
      coalesce(sum(length(o.bytes)) filter (where o.stream = 'stderr'), 0)::bigint as stderr
    from execution_output o where o.execution_id = ${id} and o.fence = ${fence}`
}

/** Keeps how the attempts of those rows of `ended` went that are followed by another. `lost` is what `endLost` was given. */
export function insertAttemptsOf(ended: string, lost: string): string {
  return `
  insert into job_attempts (job_id, fence, attempt, outcome, error, agent_id, ended_at)
  select e.id, e.fence, e.attempt, 'lost', e.error, l.agent_id, now()
  from ${ended} e join ${lost} l on l.id = e.id where e.outcome is null
  on conflict do nothing`
}

/** What an UPDATE of jobs sets to end one that no agent holds: `error` in words (SQL). */
export function endsAs(outcome: 'canceled' | 'rejected' | 'infra_error' | 'lost', error: string): string {
  return `status = '${statusOfOutcome[outcome]}', outcome = '${outcome}', error = ${error}, ended_at = ${endedNow},
    waiting_reason = null, not_before = null, locked_by = null`
}

/** The moment of an end that keeps created ≤ start ≤ end, whatever the database's clock did meanwhile. */
export const endedNow = 'greatest(j.created_at, j.started_at, now())'

/** What an UPDATE of jobs sets to take a job from its agent and leave it to others. */
export const letGo = `agent_id = null, epoch = null, assigned_at = null, started_at = null`

/** When a job that has had `attempt` attempts is tried again: a doubling window, all of it drawn from. */
export function retryAt(attempt: string, min: string, max: string): string {
  return `now() + random() * least(${max}::float8, ${min}::float8 * 2 ^ (${attempt} - 1)) * interval '1 millisecond'`
}

/**
 * A job whose claims end this often without a result, and without proof that it never started or with their agent dead,
 * harms its agents: it is not tried again.
 */
export const poisonAfter = 3

/** The error (SQL) of the last of them. */
export function poisonError(error: string): string {
  return `coalesce(${error}, 'lost') || '; this was the case ${poisonAfter} times, so it is not tried again'`
}

/**
 * Ends claims without proof of how they went. `lost` is a relation `(id, fence, agent_id, may_have_started, error)` of held
 * jobs, which this leaves canceled when that was asked, `retrying` when more attempts are allowed, else `lost`.
 * `min` and `max` are the retry window (parameters). Returns the changed rows of `jobs`.
 */
export function endLost(lost: string, min: string, max: string): string {
  const attempt = '(j.attempt + (j.started_at is null and l.may_have_started)::int)'
  const poisoned = `j.lost_claims + 1 >= ${poisonAfter}`
  const retried = `(j.status <> 'canceling' and ${attempt} < j.max_attempts and not (${poisoned}))`
  return `
  update jobs j set
    status = case when j.status = 'canceling' then 'canceled' when ${retried} then 'retrying' else 'failed' end,
    outcome = case when j.status = 'canceling' then 'canceled' when ${retried} then null
      when ${poisoned} then 'infra_error' else 'lost' end,
    error = case when j.status <> 'canceling' and ${poisoned}
      then ${poisonError('l.error')} else l.error end,
    ended_at = case when not ${retried} then ${endedNow} end,
    not_before = case when ${retried} then ${retryAt(`greatest(1, ${attempt})`, min, max)} end,
    attempt = ${attempt},
    lost_claims = j.lost_claims + 1,
    agent_id = case when not ${retried} then j.agent_id end,
    epoch = case when not ${retried} then j.epoch end,
    assigned_at = case when not ${retried} then j.assigned_at end,
    started_at = case when not ${retried} then j.started_at end
  from ${lost} l
  where j.id = l.id and j.fence = l.fence and ${isHeld('j')}
  returning j.*`
}
