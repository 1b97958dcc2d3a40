import { type Submission, submissionFieldsToCome } from '@errand/shared'
import type { Parts } from '../app.ts'
import { Problem } from '../http/problem.ts'
import type { Submitter } from '../http/submitter.ts'
import { newId } from '../store/new-id.ts'
import type { NewExecution } from '../store/submit.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { knownExecutor } from './known-executor.ts'
import { limitsInForce } from './limits-in-force.ts'
import { refuseDependencies } from './refuse-dependencies.ts'

/** A submission as it is to be stored, or what its executor has against it: 404, 422. */
export async function newExecution(
  given: Submission,
  { principal, idempotency }: Submitter,
  parts: Pick<Parts, 'db'>,
  executors: ExecutorCache,
): Promise<NewExecution> {
  refuseFieldsToCome(given)
  const { executor, queueId } = await knownExecutor(parts, executors, given.executor, '/executor')
  const runtime = given.runtime ?? executor.settings.runtime
  refuseDependencies(executor.settings, runtime, given.dependencies)
  const { limits, required } = limitsInForce(executor.settings, given)
  return {
    id: newId(),
    project: principal.project,
    keyId: principal.key_id,
    idempotency,
    executor,
    queueId,
    runtime,
    limits,
    requiredLimits: required,
    submission: given,
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
