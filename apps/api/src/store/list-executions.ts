import type { JobType, Outcome, Status } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface ListFilter {
  /** Null: all projects. */
  project: string | null
  type?: JobType | undefined
  status?: readonly Status[] | undefined
  outcome?: readonly Outcome[] | undefined
  /** The executor's name. */
  executor?: string | undefined
  agentId?: string | undefined
  label?: { key: string; value?: string | undefined } | undefined
  /** Found in the id's beginning, the executor's name, a label's value or the error. */
  q?: string | undefined
}

/** Where the next page begins: after this row. */
export interface Cursor {
  createdAt: Date
  id: string
}

/** Newest first. Rows have neither output nor `compile`. `total` only when `count` is set. */
export function listExecutions(
  db: Database,
  given: ListFilter & { limit: number; after?: Cursor | undefined; count?: boolean | undefined },
): Promise<{ rows: ExecutionRow[]; next: Cursor | null; total?: number | undefined }> {
  throw new Error(`to come ${String(db)} ${given.limit}`)
}
