import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** With all output that is stored, whatever its status. `project` null: any project. */
export function readExecution(
  db: Database,
  given: { id: string; project: string | null },
): Promise<ExecutionRow | undefined> {
  throw new Error(`to come ${String(db)} ${given.id}`)
}

/** Many at once; output that lies in chunks is left there. For waiters and followers. */
export function readExecutions(db: Database, ids: readonly string[]): Promise<ExecutionRow[]> {
  throw new Error(`to come ${String(db)} ${ids.length}`)
}

/** The same row with `stdout` and `stderr` read from their chunks where they lie there. */
export function withOutput(db: Database, row: ExecutionRow): Promise<ExecutionRow> {
  throw new Error(`to come ${String(db)} ${row.id}`)
}
