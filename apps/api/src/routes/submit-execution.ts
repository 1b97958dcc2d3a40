import { type Context, Hono } from 'hono'
import { z } from 'zod'
import {
  type Principal,
  type RuntimeName,
  type Submission,
  isFinal,
  submission,
  submissionFieldsToCome,
} from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idempotencyKey } from '../http/idempotency-key.ts'
import { Problem } from '../http/problem.ts'
import { readJson } from '../http/read-json.ts'
import { requireRole } from '../http/require-role.ts'
import { invalid, valid, validQuery } from '../http/validate.ts'
import { waitPreference } from '../http/wait-preference.ts'
import type { ReadRow } from '../live/read-row.ts'
import { type FinalWatch, unlessAway, watchFinal } from '../live/watch-final.ts'
import { type ExecutionRow, toRecord } from '../store/execution-row.ts'
import { type ExecutorRow, listExecutors } from '../store/executors.ts'
import { findRepeated } from '../store/find-repeated.ts'
import { newId } from '../store/new-id.ts'
import { withOutput } from '../store/read-execution.ts'
import type { NewExecution, Submitted } from '../store/submit.ts'
import { withWaitingReason } from '../store/waiting-reason.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { limitsInForce } from './limits-in-force.ts'

const query = z.strictObject({ wait: z.string().optional() })

/**
 * `POST /executions`: 202 once it is stored (promise 1), or with `Prefer: wait` 200 once it has ended. Nothing that
 * fails after the commit makes this an error: the caller would submit it again.
 */
export function submitRoute(parts: Parts, executors: ExecutorCache, readRow: ReadRow) {
  const { live, time } = parts
  const watchEnd = (id: string) =>
    watchFinal({ live, read: () => readRow(id), pollEveryMs: time.pollEveryMs }, id)

  return new Hono<AppEnv>().post('/executions', async (c) => {
    requireRole(c, 'runner')
    validQuery(c, query)
    const waitSec = waitPreference(c)
    const request = await readRequest(c)
    const item = await newExecution(request, parts, executors).catch(whatItWasBefore(request, parts))
    if ('kind' in item) return answerBefore(c, item, waitSec)

    using watch = watchEnd(item.id)
    const submitted = await parts.submit(item)
    if (submitted.kind !== 'stored') return answerBefore(c, submitted, waitSec)
    return await answer(c, parts, submitted.job, watch, waitSec)
  })

  /** Its idempotency key was used before. */
  async function answerBefore(c: Context<AppEnv>, before: Before, waitSec: number): Promise<Response> {
    if (before.kind === 'conflict')
      throw new Problem('idempotency_conflict', 'Use another Idempotency-Key for another body.')
    using earlier = watchEnd(before.id)
    const execution = await readRow(before.id)
    if (execution === undefined) throw new Error('an idempotency key names an execution that is not there')
    return await answer(c, parts, execution, earlier, waitSec)
  }
}

type Before = Exclude<Submitted, { kind: 'stored' }>

interface SubmitRequest {
  given: Submission
  principal: Principal
  idempotency: { key: string; sha256: string } | undefined
}

async function readRequest(c: Context<AppEnv>): Promise<SubmitRequest> {
  const key = idempotencyKey(c)
  const { value, bytes } = await readJson(c)
  const given = valid(submission, value)
  refuseFieldsToCome(given)
  const idempotency = key === undefined ? undefined : { key, sha256: await sha256(bytes) }
  return { given, principal: c.get('principal'), idempotency }
}

async function newExecution(
  { given, principal, idempotency }: SubmitRequest,
  parts: Parts,
  executors: ExecutorCache,
): Promise<NewExecution> {
  const { executor, queueId } = (await executors.find(given.executor)) ?? (await refuseUnknown(parts, given))
  refuseDisabled(executor)
  const { limits, required } = limitsInForce(executor.settings, given)
  return {
    id: newId(),
    project: principal.project,
    keyId: principal.key_id,
    idempotency,
    executor,
    queueId,
    runtime: given.runtime ?? (executor.settings.runtime satisfies RuntimeName),
    limits,
    requiredLimits: required,
    submission: given,
  }
}

/** A repeat is answered as the first was, also when its executor has changed or gone meanwhile (promise 1). */
function whatItWasBefore({ principal, idempotency }: SubmitRequest, { db }: Parts) {
  return async (error: unknown): Promise<Before> => {
    if (!(error instanceof Problem) || idempotency === undefined) throw error
    const before = await findRepeated(db, { keyId: principal.key_id, ...idempotency })
    if (before === undefined) throw error
    return before
  }
}

/** Never silently ignored: who asks for it relies on it. */
function refuseFieldsToCome(given: Submission): void {
  const errors = submissionFieldsToCome
    .filter((field) => given[field] !== undefined)
    .map((field) => ({ pointer: `/${field}`, detail: 'is not available yet' }))
  if (errors.length > 0)
    throw new Problem('not_available_yet', 'The request uses what is still to come.', { errors })
}

async function refuseUnknown({ db }: Parts, { executor }: Submission): Promise<never> {
  const names = (await listExecutors(db)).filter(({ settings }) => settings.enabled).map(({ name }) => name)
  const detail = names.length === 0 ? 'There are no executors.' : `There are: ${names.join(', ')}.`
  throw new Problem('unknown_executor', `There is no executor ${executor}. ${detail}`, {
    errors: [{ pointer: '/executor', detail: `must be one of: ${names.join(', ')}` }],
  })
}

function refuseDisabled({ name, settings }: ExecutorRow): void {
  if (!settings.enabled) throw invalid([{ pointer: '/executor', detail: `names ${name}, which is disabled` }])
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex()
}

/** The finished record, if it comes in time, else the record so far. */
async function answer(
  c: Context<AppEnv>,
  { db, closing }: Parts,
  stored: ExecutionRow,
  watch: FinalWatch,
  waitSec: number,
): Promise<Response> {
  c.header('location', `/executions/${stored.id}`)
  if (waitSec > 0) c.header('preference-applied', `wait=${waitSec}`)
  // Known only by a repeated submit, which may be repeated again: so this one may fail
  if (isFinal(stored.status)) return c.json(toRecord(await withOutput(db, stored)), waitSec > 0 ? 200 : 202)

  const latest = waitSec > 0 ? await watch.within(waitSec * 1_000, c.req.raw.signal, closing) : undefined
  const whole = latest && (await unlessAway(async () => withWaitingReason(db, await withOutput(db, latest))))
  if (whole && isFinal(whole.status)) return c.json(toRecord(whole))
  return c.json(toRecord(whole ?? stored), 202, { 'retry-after': '1' })
}
