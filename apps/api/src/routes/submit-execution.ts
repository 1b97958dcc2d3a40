import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { isFinal, submission } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idempotencyKey } from '../http/idempotency-key.ts'
import { readJson } from '../http/read-json.ts'
import { requireRole } from '../http/require-role.ts'
import { submitterOf } from '../http/submitter.ts'
import { valid, validQuery } from '../http/validate.ts'
import { waitPreference } from '../http/wait-preference.ts'
import type { ReadRow } from '../live/read-row.ts'
import { type FinalWatch, unlessAway, watchFinal } from '../live/watch-final.ts'
import { type ExecutionRow, toRecord } from '../store/execution-row.ts'
import { withOutput } from '../store/read-execution.ts'
import { withWaitingReason } from '../store/waiting-reason.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { newExecution } from './new-execution.ts'
import { type Before, idBefore, unlessSubmittedBefore } from './submitted-before.ts'

const query = z.strictObject({ wait: z.string().optional() })

/**
 * `POST /executions`: 202 once it is stored (promise 1), or with `Prefer: wait` 200 once it has ended. Nothing that
 * fails after the commit makes this an error: the caller would submit it again.
 */
export function submitRoute(parts: Parts, executors: ExecutorCache, readRow: ReadRow) {
  const { db, live, time } = parts
  const watchEnd = (id: string) =>
    watchFinal({ live, read: () => readRow(id), pollEveryMs: time.pollEveryMs }, id)

  return new Hono<AppEnv>().post('/executions', async (c) => {
    requireRole(c, 'runner')
    validQuery(c, query)
    const waitSec = waitPreference(c)
    const key = idempotencyKey(c)
    const { value, bytes } = await readJson(c)
    const given = valid(submission, value)
    const submitter = await submitterOf(c, key, bytes)
    const make = () => newExecution(given, submitter, parts, executors)
    const item = await unlessSubmittedBefore(db, submitter, make)
    if ('kind' in item) return answerBefore(c, item, waitSec)

    using watch = watchEnd(item.id)
    const submitted = await parts.submit(item)
    if (submitted.kind !== 'stored') return answerBefore(c, submitted, waitSec)
    return await answer(c, parts, submitted.job, watch, waitSec)
  })

  async function answerBefore(c: Context<AppEnv>, before: Before, waitSec: number): Promise<Response> {
    const id = idBefore(before)
    using earlier = watchEnd(id)
    const execution = await readRow(id)
    if (execution === undefined) throw new Error('an idempotency key names an execution that is not there')
    return await answer(c, parts, execution, earlier, waitSec)
  }
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
