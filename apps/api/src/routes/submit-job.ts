import { Hono } from 'hono'
import { type NewJob, newJob, submission } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idempotencyKey } from '../http/idempotency-key.ts'
import { readJson } from '../http/read-json.ts'
import { requireRole } from '../http/require-role.ts'
import { type Submitter, submitterOf } from '../http/submitter.ts'
import { invalid, noQuery, valid, validQuery, validWithin } from '../http/validate.ts'
import { unlessAway } from '../live/watch-final.ts'
import type { ExecutionRow } from '../store/execution-row.ts'
import { readJob } from '../store/read-job.ts'
import { type StoredJob, toJob } from '../store/stored-job.ts'
import type { Submitted } from '../store/submit.ts'
import { submitJob } from '../store/submit-job.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { newExecution } from './new-execution.ts'
import { newMaintenance } from './new-maintenance.ts'
import { type Before, idBefore, unlessSubmittedBefore } from './submitted-before.ts'

/**
 * `POST /jobs`: 202 with the job once it is stored (promise 1). An execution goes the way of `POST /executions`. Nothing
 * that fails after the commit makes this an error: the caller would submit it again.
 */
export function submitJobRoute(parts: Parts, executors: ExecutorCache) {
  const { db } = parts

  return new Hono<AppEnv>().post('/jobs', async (c) => {
    requireRole(c, 'runner')
    validQuery(c, noQuery)
    const inHeader = idempotencyKey(c)
    const { value, bytes } = await readJson(c)
    const given = valid(newJob, value)
    const key = given.idempotency_key ?? inHeader
    if (key !== (inHeader ?? key))
      throw invalid([{ pointer: '/idempotency_key', detail: 'is another than the header Idempotency-Key' }])
    const submitted = await submit(given, await submitterOf(c, key, bytes))
    const job = submitted.kind === 'stored' ? await asItIs(submitted.job, given) : await asItWas(submitted)
    return c.json(toJob(job), 202, { location: `/jobs/${job.job.id}`, 'retry-after': '1' })
  })

  async function submit(given: NewJob, submitter: Submitter): Promise<Submitted> {
    const { type } = given
    const refused = <T>(make: () => Promise<T>) =>
      unlessSubmittedBefore(db, submitter, () => validWithin('/params', make))
    if (type === 'code.execute') {
      refuseOutsideParams(given)
      const item = await refused(() =>
        newExecution(valid(submission, given.params), submitter, parts, executors),
      )
      return 'kind' in item ? item : parts.submit(item)
    }
    const item = await refused(() => newMaintenance(type, given, submitter, parts, executors))
    if ('kind' in item) return item
    const submitted = await submitJob(db, item)
    // It is divided among agents by this, or by the next poll.
    if (submitted.kind === 'stored') await parts.settle()
    return submitted
  }

  /** After the commit, whatever becomes of the database then. */
  async function asItIs(job: ExecutionRow, { type, params }: NewJob): Promise<StoredJob> {
    const read = await unlessAway(() => readJob(db, { id: job.id, project: null }))
    const told = type === 'code.execute' ? null : params
    return read ?? { job, params: told, progress: null, result: null, agent: null, attempts: [], parts: [] }
  }

  async function asItWas(before: Before): Promise<StoredJob> {
    const read = await readJob(db, { id: idBefore(before), project: null })
    if (read === undefined) throw new Error('an idempotency key names a job that is not there')
    return read
  }
}

/** An execution has these in its params: here they would be ignored. */
function refuseOutsideParams(given: NewJob): void {
  const errors = (['timeout_sec', 'retry'] as const)
    .filter((field) => given[field] !== undefined)
    .map((field) => ({ pointer: `/${field}`, detail: `goes into params: /params/${field}` }))
  if (errors.length > 0) throw invalid(errors)
}
