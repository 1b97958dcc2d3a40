import type { ExecutorType, RunResult } from '@errand/shared'
import type { Backend } from './backends/backend.ts'
import type { Delivery } from './delivery/delivery.ts'
import type { Log } from './log.ts'
import { resultOfLeft } from './runner/result-of-left.ts'
import type { Adoptable, Runner } from './runner/runner.ts'
import type { Spool, SpooledJob } from './spool/spool.ts'

export interface RecoveryParts {
  spool: Spool
  backends: Partial<Record<ExecutorType, Backend>>
  runner: Runner
  delivery: Delivery
  hostname: string
  log: Log
}

/** So many agents in a row may die as soon as they have adopted a job. */
const mostDeaths = 5

/**
 * At start, before the first connect: takes up what an agent that died left. What it had only accepted was never
 * started: the inventory gives it back, and says that its agent died with it. What it was starting may have run: the
 * runner goes on with it where its backend can, else nothing proves how it ended, and it is `lost`. Results that wait are
 * delivered. Of all else that was left the backends see to it that nothing is, before anything is reported.
 */
export async function recover({
  spool,
  backends,
  runner,
  delivery,
  hostname,
  log,
}: RecoveryParts): Promise<void> {
  const held = spool.held()
  const adopted = held.filter((job) => isAdoptable(job, backends))
  for (const backend of Object.values(backends))
    await backend.recover(adopted.filter(({ run }) => run.assignment.executor.executor_type === backend.type))
  for (const job of adopted) runner.adopt(job)
  for (const job of held) {
    if (job.state === 'accepted') delivery.holdDead(job)
    else if (!adopted.some((one) => one === job)) deliver(job)
  }

  function deliver(job: SpooledJob): void {
    const result = spool.result(job) ?? resultOfLeft(job, spool, hostname, endOf(job))
    if (job.state === 'starting') spool.finish(job, result)
    delivery.hold(job, 'ended')
    const ends = spool.ends(job)
    delivery.spooled(job, 'stdout', ends.stdout)
    delivery.spooled(job, 'stderr', ends.stderr)
    delivery.ended(job, result)
    log.info({ execution_id: job.id, fence: job.fence, outcome: result.outcome }, 'left by the agent before')
  }
}

function isAdoptable(job: SpooledJob, backends: RecoveryParts['backends']): job is Adoptable {
  if (job.state !== 'starting' || job.run === null || job.adoptions >= mostDeaths) return false
  return backends[job.run.assignment.executor.executor_type]?.adopt !== undefined
}

function endOf({ adoptions }: SpooledJob): Pick<RunResult, 'outcome' | 'error'> {
  if (adoptions >= mostDeaths)
    return {
      outcome: 'infra_error',
      error: `the agent died ${adoptions} times in a row as soon as it had gone on with it, so it was ended`,
    }
  return { outcome: 'lost', error: 'the agent died while it ran; what it wrote last may be missing' }
}
