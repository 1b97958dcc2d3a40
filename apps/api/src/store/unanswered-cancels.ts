import type { Database } from './database.ts'

/** Jobs that were asked to end longer ago and still are held: their agents are to be asked again. */
export function unansweredCancels(
  db: Database,
  given: { olderThanMs: number },
): Promise<{ id: string; fence: number; agentId: string }[]> {
  throw new Error(`to come ${String(db)} ${given.olderThanMs}`)
}
