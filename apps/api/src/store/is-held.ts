import { heldStatuses } from '@errand/shared'

const statuses = heldStatuses.map((one) => `'${one}'`).join(', ')

/**
 * SQL: an agent holds this job; for statements that find it by its id. The empty string keeps the planner from the
 * index of all held jobs, which it would read whole for each id while its statistics are young.
 */
export function isHeld(job: string): string {
  return `${job}.status || '' in (${statuses})`
}

/** SQL: the same for statements that look for all held jobs, so that they use that index. */
export function isAmongHeld(job: string): string {
  return `${job}.status in (${statuses})`
}
