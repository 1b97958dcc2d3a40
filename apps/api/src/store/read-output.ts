import type { Stream } from '@errand/shared'
import type { Database } from './database.ts'

/** How many bytes of a stream are stored. */
export interface StoredOutput {
  fence: number
  bytes: number
  /** Whether it can still grow. */
  final: boolean
}

/** The last claim's output. `project` null: any project. */
export function findOutput(
  db: Database,
  given: { id: string; project: string | null; stream: Stream },
): Promise<StoredOutput | undefined> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}

/** At most `length` bytes of that claim's output from `offset` on; none when there are no more. Loads no more than that. */
export function readOutput(
  db: Database,
  given: { id: string; fence: number; stream: Stream; offset: number; length: number },
): Promise<Uint8Array> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}
