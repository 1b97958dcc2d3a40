import type { Database } from './database.ts'
import { isHeld } from './is-held.ts'

export interface StoredRequest {
  /** The validated submission as JSON in UTF-8. */
  body: Uint8Array
  sha256: string
}

/** What was submitted. `project` null: any project. */
export async function readRequest(
  db: Database,
  given: { id: string; project: string | null },
): Promise<StoredRequest | undefined> {
  const [row] = await db.query<StoredRequest>(
    `select q.body, q.sha256 from execution_requests q join jobs j on j.id = q.id
     where q.id = $1 and ($2::text is null or j.project = $2::text)`,
    [given.id, given.project],
  )
  return row
}

/** The same for the agent whose claim it is: undefined when that claim has ended. */
export async function readInput(
  db: Database,
  given: { id: string; fence: number },
): Promise<StoredRequest | undefined> {
  const [row] = await db.query<StoredRequest>(
    `select q.body, q.sha256 from execution_requests q join jobs j on j.id = q.id
     where q.id = $1 and j.fence = $2 and ${isHeld('j')}`,
    [given.id, given.fence],
  )
  return row
}
