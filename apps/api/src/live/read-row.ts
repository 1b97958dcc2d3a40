import { createBatcher } from '../store/batch.ts'
import type { Database } from '../store/database.ts'
import type { ExecutionRow } from '../store/execution-row.ts'
import { readExecutions } from '../store/read-execution.ts'

export type ReadRow = (id: string) => Promise<ExecutionRow | undefined>

/** Reads one execution, in one statement with whatever others are asked for: a thousand that wait poll together. */
export function createReadRow(db: Database): ReadRow {
  return createBatcher({
    async run(ids: readonly string[]) {
      const rows = new Map((await readExecutions(db, ids)).map((row) => [row.id, row]))
      return ids.map((id) => rows.get(id))
    },
    weigh: (id) => id.length,
  })
}
