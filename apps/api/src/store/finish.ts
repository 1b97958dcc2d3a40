import {
  isCompleted,
  isRetried,
  statusOfOutcome,
  type Offsets,
  type RunResult,
  type TimeConstants,
} from '@errand/shared'
import { createBatcher } from './batch.ts'
import { believable } from './believable-result.ts'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { endedNow, poisonAfter, poisonError, retryAt } from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
import { isHeld } from './is-held.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface FinishItem extends ClaimOf {
  result: RunResult
  /** The end of each stream that was not sent before. */
  inlineStdout: Uint8Array
  inlineStderr: Uint8Array
}

export interface Finished {
  /** `already`: this very result is stored. `incomplete`: what would be stored is not what the result speaks of. */
  verdict: 'stored' | 'already' | 'stale' | 'incomplete'
  /** With `incomplete`: what is stored, where the agent sends again from. */
  offsets?: Offsets | undefined
  /** With `stored`: final, or `retrying`. */
  execution?: ExecutionRow | undefined
}

/** Resolves only after commit. May be repeated with the same item. */
export type Finish = (item: FinishItem) => Promise<Finished>

export function createFinish(db: Database, time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>): Finish {
  return createBatcher<FinishItem, Finished>({
    run: (items) => finishAll(db, time, items),
    weigh: ({ inlineStdout, inlineStderr }) => inlineStdout.length + inlineStderr.length + 1_000,
  })
}

interface FinishRow extends ExecutionRow {
  n: number
  verdict: Finished['verdict']
  sent_stdout: number
  sent_stderr: number
}

async function finishAll(
  db: Database,
  time: Pick<TimeConstants, 'retryMinMs' | 'retryMaxMs'>,
  items: readonly FinishItem[],
): Promise<Finished[]> {
  const rows = await db.query<FinishRow>(finishStatement, [
    JSON.stringify(items.map(toRow)),
    time.retryMinMs,
    time.retryMaxMs,
  ])
  const finished = new Map(rows.map((row) => [row.n, toFinished(row, items[row.n]!)]))
  return items.map((_item, n) => finished.get(n)!)
}

function toFinished(row: FinishRow, item: FinishItem): Finished {
  const { n: _n, verdict, sent_stdout, sent_stderr, ...execution } = row
  if (verdict === 'incomplete') return { verdict, offsets: { stdout: sent_stdout, stderr: sent_stderr } }
  if (verdict !== 'stored') return { verdict }
  // The statement does not send back what it was sent.
  const stdout = sent_stdout === 0 ? item.inlineStdout : null
  const stderr = sent_stderr === 0 ? item.inlineStderr : null
  return { verdict, execution: Object.assign(execution, { stdout, stderr }) }
}

function toRow({ id, fence, agentId, epoch, result, inlineStdout, inlineStderr }: FinishItem, n: number) {
  const { stdout, stderr, outcome, error, ...told } = believable(result)
  return {
    ...told,
    told_outcome: outcome,
    told_status: statusOfOutcome[outcome],
    told_error: error,
    completed: isCompleted(outcome),
    retried: isRetried(outcome),
    n,
    id,
    fence,
    agent_id: agentId,
    epoch,
    out_tail: inlineStdout.toBase64(),
    out_bytes: stdout.bytes,
    out_stored: stdout.stored,
    out_truncated: stdout.truncated,
    out_sha256: stdout.sha256,
    err_tail: inlineStderr.toBase64(),
    err_bytes: stderr.bytes,
    err_stored: stderr.stored,
    err_truncated: stderr.truncated,
    err_sha256: stderr.sha256,
  }
}

/** Whether what was sent before and the tail together are what the result speaks of, and within the limit. */
const isWhole = (stream: 'out' | 'err') => `(
  s.${stream}_sent + length(h.${stream}_end) = h.${stream}_stored and h.${stream}_stored <= h.cap
  and sha256(coalesce(s.${stream}_before, ''::bytea) || h.${stream}_end) = decode(h.${stream}_sha256, 'hex'))`

/** A claim whose start was never stored counts now; so does our own failure before a start, or it would be retried for ever. */
const attempt = `(j.attempt + (j.started_at is null and (m.start_time_ms is not null or m.retried))::int)`
/** A claim that its agent calls lost is one more that ended without proof. */
const poisoned = `(m.told_outcome = 'lost' and j.lost_claims + 1 >= ${poisonAfter})`
const retried = `(m.retried and j.status <> 'canceling' and ${attempt} < j.max_attempts and not ${poisoned})`
const startedAt = (job: string, m: string) =>
  `greatest(${job}.created_at, least(to_timestamp(${m}.start_time_ms / 1000.0), now()))`
const startMs = `floor(extract(epoch from ${startedAt('v', 'v')}) * 1000)`
const endMs = `floor(extract(epoch from greatest(${startedAt('v', 'v')},
  least(coalesce(to_timestamp(v.end_time_ms / 1000.0), now()), v.ended_at))) * 1000)`

/**
 * Everything for all of them at once. `held` are the claims that are still the sender's; the lock keeps output that
 * is on its way either before or out. A stream of which nothing was sent before lies in the result, any other goes
 * on in its chunks. What is known of an item is handed on from step to step, since PostgreSQL joins such steps only
 * by comparing each row with each.
 */
const finishStatement = `
with input as materialized (
  select * from json_to_recordset($1::text::json) as i(n int, id uuid, fence bigint, agent_id uuid, epoch bigint,
    told_outcome text, told_status text, completed boolean, retried boolean, phase text, exit_code int, signal text,
    out_of_memory boolean, told_error text, runtime_id text, hostname text, container_id text, start_time_ms float8,
    end_time_ms float8, duration_sec float8, prepare_ms float8, run_ms float8, usage jsonb, isolation jsonb, compile jsonb, brought jsonb,
    out_tail text, out_bytes bigint, out_stored bigint, out_truncated boolean, out_sha256 text,
    err_tail text, err_bytes bigint, err_stored bigint, err_truncated boolean, err_sha256 text)
), once as (
  select distinct on (id) * from input order by id, n
), held as materialized (
  select i.*, decode(i.out_tail, 'base64') as out_end, decode(i.err_tail, 'base64') as err_end, j.cap
  from once i cross join lateral (
    select (j.limits->>'output_limit_kb')::bigint * 1024 as cap from jobs j
    where j.id = i.id and j.fence = i.fence and j.agent_id = i.agent_id and j.epoch = i.epoch and ${isHeld('j')}
    for no key update
  ) j
), measured as materialized (
  select h.*, s.out_sent, s.err_sent, ${isWhole('out')} and ${isWhole('err')} as whole
  from held h cross join lateral (
    select string_agg(o.bytes, ''::bytea order by o."offset") filter (where o.stream = 'stdout') as out_before,
      string_agg(o.bytes, ''::bytea order by o."offset") filter (where o.stream = 'stderr') as err_before,
      coalesce(sum(length(o.bytes)) filter (where o.stream = 'stdout'), 0) as out_sent,
      coalesce(sum(length(o.bytes)) filter (where o.stream = 'stderr'), 0) as err_sent
    from execution_output o where o.execution_id = h.id and o.fence = h.fence
  ) s
), moved as (
  update jobs j set
    status = case when ${retried} then 'retrying' else m.told_status end,
    outcome = case when ${retried} then null when ${poisoned} then 'infra_error' else m.told_outcome end,
    error = case when ${poisoned} then ${poisonError('m.told_error')} else m.told_error end,
    lost_claims = j.lost_claims + (m.told_outcome = 'lost')::int,
    ended_at = case when ${retried} then null else ${endedNow} end,
    not_before = case when ${retried} then ${retryAt(`greatest(1, ${attempt})`, '$2', '$3')} end,
    attempt = ${attempt},
    started_at = case when ${retried} then null when m.start_time_ms is null then j.started_at
      else ${startedAt('j', 'm')} end,
    agent_id = case when ${retried} then null else j.agent_id end,
    epoch = case when ${retried} then null else j.epoch end
  from measured m where j.id = m.id and j.fence = m.fence and m.whole
  returning j.*, m.n, m.completed, m.phase, m.exit_code, m.signal, m.out_of_memory, m.runtime_id, m.hostname, m.container_id,
    m.start_time_ms, m.end_time_ms, m.duration_sec, m.prepare_ms, m.run_ms, m.usage, m.isolation, m.compile,
    m.brought, m.told_outcome, m.agent_id as told_by, m.out_sent, m.out_end, m.out_bytes, m.out_truncated, m.err_sent, m.err_end, m.err_bytes, m.err_truncated
), result as (
  insert into code_execution_results (id, executor_type, executor_id, runtime_id, name, config_id, completed, success,
    exit_code, stdout, stderr, hostname, start_time_ms, end_time_ms, duration_sec, error, outcome, phase, signal,
    out_of_memory, attempt, fence, agent_id, container_id, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated,
    usage, isolation, timings, compile)
  select v.id, v.executor_type, v.executor_id, coalesce(v.runtime_id, v.runtime), v.executor_name, v.config_id,
    v.completed, v.outcome = 'succeeded', v.exit_code,
    case when v.out_sent = 0 then v.out_end end, case when v.err_sent = 0 then v.err_end end, v.hostname,
    case when v.start_time_ms is not null then ${startMs} end, case when v.start_time_ms is not null then ${endMs} end,
    greatest(0, v.duration_sec), v.error, v.outcome, v.phase, v.signal, v.out_of_memory, v.attempt, v.fence, v.agent_id,
    v.container_id, v.out_bytes, v.err_bytes, v.out_truncated, v.err_truncated,
    nullif(v.usage, 'null'), nullif(v.isolation, 'null'),
    jsonb_build_object('queued_ms', round(extract(epoch from v.assigned_at - v.created_at) * 1000, 3),
      'prepare_ms', v.prepare_ms, 'run_ms', v.run_ms), nullif(v.compile, 'null')
  from moved v where v.outcome is not null and v.type = 'code.execute'
  returning id, runtime_id, exit_code, phase, signal, out_of_memory, hostname, container_id, start_time_ms, end_time_ms,
    duration_sec, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated, usage, isolation, timings, compile
), tails as (
  insert into execution_output (execution_id, fence, stream, "offset", bytes)
  select v.id, v.fence, t.stream, t.reached, t.bytes from moved v
  cross join lateral (values ('stdout', v.out_sent, v.out_end), ('stderr', v.err_sent, v.err_end)) t(stream, reached, bytes)
  where length(t.bytes) > 0 and case v.type when 'code.execute' then v.outcome is not null and t.reached > 0 else true end
), attempts as (
  insert into job_attempts (job_id, fence, attempt, outcome, error, agent_id, ended_at)
  select v.id, v.fence, v.attempt, v.told_outcome, v.error, v.told_by, now() from moved v where v.outcome is null
), brought as (
  update maintenance_jobs b set brought = (select nullif(v.brought, 'null') from moved v where v.id = b.id)
  where b.id = any (array(select v.id from moved v where v.outcome = 'succeeded' and v.type <> 'code.execute'))
), forgotten as (
  delete from execution_output o using moved v
  where v.attempt > 1 and v.type = 'code.execute' and o.execution_id = v.id and o.fence < v.fence
)
select i.n, coalesce(m.out_sent, 0)::bigint as sent_stdout, coalesce(m.err_sent, 0)::bigint as sent_stderr,
  case when v.id is not null then 'stored' when m.n is not null then 'incomplete'
    when exists (select from code_execution_results o where o.id = i.id and o.fence = i.fence and o.agent_id = i.agent_id
      and (o.outcome = i.told_outcome or (o.outcome = 'infra_error' and i.told_outcome = 'lost'))) then 'already'
    else 'stale' end as verdict,
  ${executionColumns('v', 'r', ['stdout', 'stderr'])}
from input i left join measured m on m.n = i.n left join moved v on v.n = i.n left join result r on r.id = v.id`
