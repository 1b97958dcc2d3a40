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
import { endedNow, retryAt } from './end-without-result.ts'
import { executionColumns } from './execution-columns.ts'
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
  sent_stdout: number | null
  sent_stderr: number | null
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
  if (verdict === 'incomplete') return { verdict, offsets: { stdout: sent_stdout!, stderr: sent_stderr! } }
  if (verdict !== 'stored') return { verdict }
  // The statement does not send back what it was sent.
  const stdout = sent_stdout === 0 ? item.inlineStdout : null
  const stderr = sent_stderr === 0 ? item.inlineStderr : null
  return { verdict, execution: { ...execution, stdout, stderr } }
}

function toRow({ id, fence, agentId, epoch, result, inlineStdout, inlineStderr }: FinishItem, n: number) {
  const { stdout, stderr, ...told } = believable(result)
  return {
    ...told,
    n,
    id,
    fence,
    agent_id: agentId,
    epoch,
    status: statusOfOutcome[told.outcome],
    completed: isCompleted(told.outcome),
    retried: isRetried(told.outcome),
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
  sent_${stream} + length(${stream}_tail) = ${stream}_stored and ${stream}_stored <= cap
  and sha256(coalesce(${stream}_before, ''::bytea) || ${stream}_tail) = decode(${stream}_sha256, 'hex'))`

/** A claim whose start was never stored counts now; so does our own failure before a start, or it would be retried for ever. */
const attempt = `(j.attempt + (j.started_at is null and (m.start_time_ms is not null or m.retried))::int)`
const retried = `(m.retried and j.status <> 'canceling' and ${attempt} < j.max_attempts)`
const startedAt = `greatest(j.created_at, least(to_timestamp(m.start_time_ms / 1000.0), now()))`
const endedAt = `greatest(${startedAt}, least(coalesce(to_timestamp(m.end_time_ms / 1000.0), now()), j.ended_at))`

/**
 * Everything for all of them at once. `held` are the claims that are still the sender's; the lock keeps output that
 * is on its way either before or out. A stream of which nothing was sent before lies in the result, any other goes
 * on in its chunks.
 */
const finishStatement = `
with input as materialized (
  select n, id, fence, agent_id, epoch, outcome, status, completed, retried, phase, exit_code, signal, out_of_memory,
    error, runtime_id, hostname, container_id, start_time_ms, end_time_ms, duration_sec, prepare_ms, run_ms, usage,
    isolation, compile, out_bytes, out_stored, out_truncated, out_sha256, err_bytes, err_stored, err_truncated, err_sha256,
    decode(out_tail, 'base64') as out_tail, decode(err_tail, 'base64') as err_tail
  from json_to_recordset($1::text::json) as i(n int, id uuid, fence bigint, agent_id uuid, epoch bigint, outcome text,
    status text, completed boolean, retried boolean, phase text, exit_code int, signal text, out_of_memory boolean,
    error text, runtime_id text, hostname text, container_id text, start_time_ms float8, end_time_ms float8,
    duration_sec float8, prepare_ms float8, run_ms float8, usage jsonb, isolation jsonb, compile jsonb,
    out_tail text, out_bytes bigint, out_stored bigint, out_truncated boolean, out_sha256 text,
    err_tail text, err_bytes bigint, err_stored bigint, err_truncated boolean, err_sha256 text)
), once as (
  select distinct on (id) n, id, fence, agent_id, epoch from input order by id, n
), held as materialized (
  select i.n, (j.limits->>'output_limit_kb')::bigint * 1024 as cap from once i
  join jobs j on j.id = i.id and j.fence = i.fence and j.agent_id = i.agent_id and j.epoch = i.epoch
    and j.status in ('assigned', 'running', 'canceling')
  order by j.id for no key update of j
), sent as (
  select i.*, h.cap, coalesce(length(s.out_before), 0) as sent_out, coalesce(length(s.err_before), 0) as sent_err,
    s.out_before, s.err_before
  from held h join input i on i.n = h.n cross join lateral (
    select string_agg(o.bytes, ''::bytea order by o."offset") filter (where o.stream = 'stdout') as out_before,
      string_agg(o.bytes, ''::bytea order by o."offset") filter (where o.stream = 'stderr') as err_before
    from execution_output o where o.execution_id = i.id and o.fence = i.fence
  ) s
), measured as materialized (
  select n, id, fence, outcome, status, completed, retried, phase, exit_code, signal, out_of_memory, error, runtime_id,
    hostname, container_id, start_time_ms, end_time_ms, duration_sec, prepare_ms, run_ms, usage, isolation, compile,
    out_tail, out_bytes, out_truncated, err_tail, err_bytes, err_truncated, sent_out, sent_err,
    ${isWhole('out')} and ${isWhole('err')} as whole
  from sent
), moved as (
  update jobs j set
    status = case when ${retried} then 'retrying' else m.status end,
    outcome = case when ${retried} then null else m.outcome end,
    error = m.error,
    ended_at = case when ${retried} then null else ${endedNow} end,
    not_before = case when ${retried} then ${retryAt(`greatest(1, ${attempt})`, '$2', '$3')} end,
    attempt = ${attempt},
    started_at = case when ${retried} then null when m.start_time_ms is null then j.started_at else ${startedAt} end,
    agent_id = case when ${retried} then null else j.agent_id end,
    epoch = case when ${retried} then null else j.epoch end
  from measured m where j.id = m.id and j.fence = m.fence and m.whole
  returning j.*
), result as (
  insert into code_execution_results (id, executor_type, executor_id, runtime_id, name, config_id, completed, success,
    exit_code, stdout, stderr, hostname, start_time_ms, end_time_ms, duration_sec, error, outcome, phase, signal,
    out_of_memory, attempt, fence, agent_id, container_id, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated,
    usage, isolation, timings, compile)
  select j.id, j.executor_type, j.executor_id, coalesce(m.runtime_id, j.runtime), j.executor_name, j.config_id,
    m.completed, m.outcome = 'succeeded', m.exit_code,
    case when m.sent_out = 0 then m.out_tail end, case when m.sent_err = 0 then m.err_tail end, m.hostname,
    case when m.start_time_ms is not null then floor(extract(epoch from ${startedAt}) * 1000) end,
    case when m.start_time_ms is not null then floor(extract(epoch from ${endedAt}) * 1000) end,
    greatest(0, m.duration_sec), m.error, m.outcome, m.phase, m.signal, m.out_of_memory, j.attempt, j.fence, j.agent_id,
    m.container_id, m.out_bytes, m.err_bytes, m.out_truncated, m.err_truncated,
    nullif(m.usage, 'null'), nullif(m.isolation, 'null'),
    jsonb_build_object('queued_ms', round(extract(epoch from j.assigned_at - j.created_at) * 1000, 3),
      'prepare_ms', m.prepare_ms, 'run_ms', m.run_ms), nullif(m.compile, 'null')
  from moved j join measured m on m.id = j.id where j.outcome is not null
  returning *
), tails as (
  insert into execution_output (execution_id, fence, stream, "offset", bytes)
  select m.id, m.fence, t.stream, t.reached, t.bytes from measured m
  cross join lateral (values ('stdout', m.sent_out, m.out_tail), ('stderr', m.sent_err, m.err_tail)) t(stream, reached, bytes)
  where m.whole and t.reached > 0 and length(t.bytes) > 0
), forgotten as (
  delete from execution_output o using moved j
  where j.attempt > 1 and o.execution_id = j.id and (o.fence < j.fence or j.status = 'retrying')
)
select i.n, m.sent_out as sent_stdout, m.sent_err as sent_stderr,
  case when j.id is not null then 'stored' when m.n is not null then 'incomplete'
    when exists (select from code_execution_results o where o.id = i.id and o.fence = i.fence and o.agent_id = i.agent_id
      and o.outcome = i.outcome) then 'already'
    else 'stale' end as verdict,
  ${executionColumns('j', 'r', ['stdout', 'stderr'])}
from input i left join measured m on m.n = i.n left join moved j on j.id = m.id left join result r on r.id = j.id`
