import type { JobType, Outcome, Status } from '@errand/shared'
import type { Database } from './database.ts'
import { executionColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'

export interface ListFilter {
  /** Whose executions; null: those of all projects. Other jobs are everybody's to see. */
  project: string | null
  types: readonly JobType[]
  status?: readonly Status[] | undefined
  outcome?: readonly Outcome[] | undefined
  /** The executor's name. */
  executor?: string | undefined
  /** That has it, had it last, or is to do it. */
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
export async function listJobs(
  db: Database,
  given: ListFilter & { limit: number; after?: Cursor | undefined; count?: boolean | undefined },
): Promise<{ rows: ExecutionRow[]; next: Cursor | null; total?: number | undefined }> {
  const { limit, after, count } = given
  const all = conditionsOf(given)
  const page = after === undefined ? all : beyond(all, after)
  const rows = await db.query<ExecutionRow>(
    `select ${executionColumns('j', 'r', ['stdout', 'stderr', 'compile'])}
     from jobs j left join code_execution_results r on r.id = j.id
     where ${page.text} order by j.created_at desc, j.id desc limit ${Math.trunc(limit) + 1}`,
    page.values,
  )
  const last = rows.length > limit ? rows.slice(0, limit).at(-1) : undefined
  const next = last === undefined ? null : { createdAt: last.created_at, id: last.id }
  const counted = count
    ? await db.query<{ total: number }>(`select count(*) as total from jobs j where ${all.text}`, all.values)
    : []
  return { rows: rows.slice(0, limit), next, total: counted[0]?.total }
}

interface Conditions {
  text: string
  values: unknown[]
}

function conditionsOf(given: ListFilter): Conditions {
  const texts = ['true']
  const values: unknown[] = []
  const add = (value: unknown, text: (param: string) => string) => {
    if (value === undefined || value === null) return
    values.push(value)
    texts.push(text(`$${values.length}`))
  }
  add(given.project, (one) => `(j.type <> 'code.execute' or j.project = ${one})`)
  add(JSON.stringify(given.types), (all) => `j.type ${isAmong(all)}`)
  // In these words the index of the other jobs is found
  if (!given.types.includes('code.execute')) texts.push("j.type <> 'code.execute'")
  add(given.status && JSON.stringify(given.status), (all) => `j.status ${isAmong(all)}`)
  add(given.outcome && JSON.stringify(given.outcome), (all) => `j.outcome ${isAmong(all)}`)
  add(given.executor, (one) => `j.executor_name = ${one}`)
  add(given.agentId, (one) => `(j.agent_id = ${one}::uuid or j.target_agent_id = ${one}::uuid)`)
  add(given.label?.key, (key) => `jsonb_exists(j.labels, ${key})`)
  add(given.label?.value, (value) => `j.labels->>$${values.length - 1} = ${value}`)
  add(
    given.q && `%${given.q.replaceAll(/[\\%_]/g, String.raw`\$&`)}%`,
    (like) =>
      `(j.id::text like substr(${like}, 2) or j.executor_name ilike ${like} or j.error ilike ${like}
        or exists (select from jsonb_each_text(j.labels) l where l.value ilike ${like}))`,
  )
  return { text: texts.join(' and '), values }
}

function isAmong(json: string): string {
  return `in (select json_array_elements_text(${json}::text::json))`
}

function beyond({ text, values }: Conditions, after: Cursor): Conditions {
  const n = values.length
  return {
    text: `${text} and (j.created_at, j.id) < ($${n + 1}::timestamptz, $${n + 2}::uuid)`,
    values: [...values, after.createdAt, after.id],
  }
}
