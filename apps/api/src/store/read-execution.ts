import type { Database } from './database.ts'
import { executionColumns } from './execution-columns.ts'
import { type ExecutionRow, isExecutionSeenBy } from './execution-row.ts'

/** With all output that is stored, whatever its status. `project` null: any project. Other jobs are no executions. */
export async function readExecution(
  db: Database,
  given: { id: string; project: string | null },
): Promise<ExecutionRow | undefined> {
  const [row] = await readExecutions(db, [given.id])
  return isExecutionSeenBy(row, given.project) ? withOutput(db, row) : undefined
}

/** Many jobs of any type at once, in any order; output that lies in chunks is left there. For waiters and followers. */
export function readExecutions(db: Database, ids: readonly string[]): Promise<ExecutionRow[]> {
  return db.query<ExecutionRow>(readStatement, [JSON.stringify(ids)])
}

const readStatement = `
select ${executionColumns('j', 'r')}
from json_array_elements_text($1::text::json) i(id) join jobs j on j.id = i.id::uuid
left join code_execution_results r on r.id = j.id`

/** The same row with `stdout` and `stderr` read from their chunks where they lie there. */
export async function withOutput(db: Database, row: ExecutionRow): Promise<ExecutionRow> {
  if (row.fence === 0 || (row.stdout !== null && row.stderr !== null)) return row
  const chunked = new Map(
    (await db.query<{ stream: string; bytes: Uint8Array }>(chunksStatement, [row.id, row.fence])).map(
      (one) => [one.stream, one.bytes],
    ),
  )
  const stdout = row.stdout ?? chunked.get('stdout') ?? null
  const stderr = row.stderr ?? chunked.get('stderr') ?? null
  return {
    ...row,
    stdout,
    stderr,
    stdout_bytes: Math.max(row.stdout_bytes, stdout?.length ?? 0),
    stderr_bytes: Math.max(row.stderr_bytes, stderr?.length ?? 0),
  }
}

const chunksStatement = `
select stream, string_agg(bytes, ''::bytea order by "offset") as bytes
from execution_output where execution_id = $1 and fence = $2 group by stream`
