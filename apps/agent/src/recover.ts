import type { Delivery } from './delivery/delivery.ts'
import type { Log } from './log.ts'
import { lostResult } from './runner/lost-result.ts'
import type { Spool } from './spool/spool.ts'

/**
 * At start, before the first connect: takes up what an agent that died left in the spool. What it had only accepted
 * was never started: it is dropped, and its absence from the inventory gives it back. What it was starting may have
 * run, and nothing proves how it ended: it is `lost`. Results that wait are delivered.
 */
export function recover(spool: Spool, delivery: Delivery, hostname: string, log: Log): void {
  for (const job of spool.held()) {
    if (job.state === 'accepted') {
      spool.forget(job)
      continue
    }
    const result = spool.result(job) ?? lostResult(job, spool, hostname)
    if (job.state === 'starting') spool.finish(job, result)
    delivery.hold(job, 'ended')
    const ends = spool.ends(job)
    delivery.spooled(job, 'stdout', ends.stdout)
    delivery.spooled(job, 'stderr', ends.stderr)
    delivery.ended(job, result)
    log.info({ execution_id: job.id, fence: job.fence, outcome: result.outcome }, 'left by the agent before')
  }
}
