import type { Database } from './database.ts'

export interface StoredRequest {
  /** The validated submission as JSON in UTF-8. */
  body: Uint8Array
  sha256: string
}

/** What was submitted. `project` null: any project. */
export function readRequest(
  db: Database,
  given: { id: string; project: string | null },
): Promise<StoredRequest | undefined> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}

/** The same for the agent whose claim it is: undefined when that claim has ended. */
export function readInput(
  db: Database,
  given: { id: string; fence: number },
): Promise<StoredRequest | undefined> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}
