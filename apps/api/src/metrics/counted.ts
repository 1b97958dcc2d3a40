import type { Claim } from '../store/claim.ts'
import type { Finish } from '../store/finish.ts'
import type { Submit } from '../store/submit.ts'
import { Unavailable, type Database } from '../store/database.ts'
import type { ExecutionRow } from '../store/execution-row.ts'
import type { Metrics } from './metrics.ts'

/** The same, and counted. */
export function countedSubmit(submit: Submit, { submissions }: Metrics): Submit {
  return async (item) => {
    const submitted = await submit(item)
    submissions.inc({ result: submitted.kind === 'stored' ? submitted.job.status : submitted.kind })
    return submitted
  }
}

/** The same, and counted. */
export function countedAssignments<Message>(
  assignmentOf: (claim: Claim) => Promise<Message>,
  { assignments }: Metrics,
): (claim: Claim) => Promise<Message> {
  return (claim) => {
    const { type, executor_type } = claim.execution
    assignments.inc({ type, executor_type })
    return assignmentOf(claim)
  }
}

/** The same, and counted. What was cut off is known only once a result says how much there was. */
export function countedFinish(finish: Finish, { results, output }: Metrics): Finish {
  return async (item) => {
    const finished = await finish(item)
    results.inc({ verdict: finished.verdict })
    if (finished.verdict === 'stored' && finished.execution?.type === 'code.execute')
      for (const { bytes, stored } of [item.result.stdout, item.result.stderr]) {
        output.inc({ fate: 'stored' }, stored)
        output.inc({ fate: 'dropped' }, Math.max(0, bytes - stored))
      }
    return finished
  }
}

/** Counts what a job's change means. To be called once for each change, by the replica that stored it. */
export function countChange(metrics: Metrics, job: ExecutionRow): void {
  const { type, executor_type, status, outcome, timings } = job
  if (status === 'retrying') metrics.retried.inc({ executor_type })
  if (outcome === null) return
  metrics.ended.inc({ type, executor_type, outcome })
  for (const [histogram, ms] of [
    [metrics.queued, timings?.queued_ms],
    [metrics.prepared, timings?.prepare_ms],
    [metrics.ran, timings?.run_ms],
  ] as const)
    if (typeof ms === 'number') histogram.observe({ executor_type }, ms / 1_000)
}

/** The same, and counted and timed. */
export function countedDatabase(db: Database, { statements, databaseErrors }: Metrics): Database {
  return {
    ...db,
    query: (text, params) => timed(() => db.query(text, params)),
    transaction: (act) => timed(() => db.transaction(act)),
  }

  async function timed<T>(act: () => Promise<T>): Promise<T> {
    const begun = performance.now()
    try {
      return await act()
    } catch (error) {
      databaseErrors.inc({ kind: error instanceof Unavailable ? 'unavailable' : 'refused' })
      throw error
    } finally {
      statements.observe((performance.now() - begun) / 1_000)
    }
  }
}
