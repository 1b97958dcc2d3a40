import type { Status } from '@errand/shared'

/**
 * SQL: this job has one of these statuses; for statements that find it by its id. The empty string keeps the planner
 * from the index of all jobs that have it, which it would read whole for each id while its statistics are young.
 */
export function hasStatus(job: string, ...statuses: readonly Status[]): string {
  return `${job}.status || '' in (${statuses.map((one) => `'${one}'`).join(', ')})`
}
