import { isFinal, type TimeConstants } from '@errand/shared'
import type { Live } from '../live/live.ts'
import { publishChange } from '../live/publish-change.ts'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'
import type { ExecutionRow } from '../store/execution-row.ts'
import { planParts } from '../store/plan-parts.ts'
import { settle } from '../store/settle.ts'
import type { Dispatch } from './dispatch.ts'

export interface SettleParts {
  db: Database
  live: Live
  dispatch: Pick<Dispatch, 'cancel' | 'freed' | 'poll'>
  time: TimeConstants
  log: Log
}

/**
 * Brings maintenance on: divides what was asked for, settles who waits for whom, and tells whoever must know. To be
 * called after everything that may have changed that, and with every poll, which is the truth. Resolves when all of
 * that has been worked out which was stored before the call; never rejects.
 */
export function createSettleMaintenance(parts: SettleParts): () => Promise<void> {
  let underWay: Promise<void> | undefined
  let next: Promise<void> | undefined

  return () => {
    if (underWay === undefined) return begin()
    // What is under way may have read before the caller's change.
    next ??= underWay.then(() => {
      next = undefined
      return begin()
    })
    return next
  }

  function begin(): Promise<void> {
    underWay = settleAll(parts).finally(() => (underWay = undefined))
    return underWay
  }
}

/** What is left then comes with the next poll: who waits for this does not wait for ever. */
const mostRounds = 10

async function settleAll({ db, live, dispatch, time, log }: SettleParts): Promise<void> {
  await tellChanges(() => planParts(db))
  // What has changed may mean something for more.
  for (let round = 0; round < mostRounds; round++) if (!(await tellChanges(() => settle(db, time)))) return

  /** Whether something has changed. */
  async function tellChanges(act: () => Promise<ExecutionRow[]>): Promise<boolean> {
    try {
      const changed = await act()
      for (const job of changed) tell(job)
      // A part may be the first that its agent has a queue for.
      if (changed.length > 0) await dispatch.poll()
      return changed.length > 0
    } catch (error) {
      log.warn({ err: error }, 'could not settle maintenance')
      return false
    }
  }

  function tell(job: ExecutionRow): void {
    publishChange(live, job)
    if (job.status === 'canceling') dispatch.cancel(job.agent_id!, job.id, job.fence)
    if (isFinal(job.status)) dispatch.freed(job.queue_id)
  }
}
