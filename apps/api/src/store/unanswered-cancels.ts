import type { Database } from './database.ts'

/** Jobs that were asked to end longer ago and still are held: their agents are to be asked again. */
export function unansweredCancels(
  db: Database,
  given: { olderThanMs: number },
): Promise<{ id: string; fence: number; agentId: string }[]> {
  return db.query(
    `select id, fence, agent_id as "agentId" from jobs
     where status = 'canceling'
       and cancel_requested_at < now() - $1::float8 * interval '1 millisecond'`,
    [given.olderThanMs],
  )
}
