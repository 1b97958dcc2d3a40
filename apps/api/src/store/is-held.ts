import { heldStatuses } from '@errand/shared'
import { hasStatus } from './has-status.ts'

/** SQL: an agent holds this job; for statements that find it by its id. */
export function isHeld(job: string): string {
  return hasStatus(job, ...heldStatuses)
}

/** SQL: the same for statements that look for all held jobs, so that they use the index of those. */
export function isAmongHeld(job: string): string {
  return `${job}.status in (${heldStatuses.map((one) => `'${one}'`).join(', ')})`
}
