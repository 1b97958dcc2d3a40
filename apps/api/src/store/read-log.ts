import type { Database } from './database.ts'

/** What is stored of the log that one claim of a job has written, from some byte on. */
export interface LogPiece {
  jobId: string
  fence: number
  offset: number
  bytes: Uint8Array
}

/**
 * Of each claim of these jobs the log from the given byte on (`reached`, by fence; else from its beginning): not much
 * more than `length` bytes of each, and none of those that have no more.
 */
export async function readLog(
  db: Database,
  given: { jobIds: readonly string[]; reached: ReadonlyMap<number, number>; length: number },
): Promise<LogPiece[]> {
  const { jobIds, reached, length } = given
  const pieces = await db.query<LogPiece>(readStatement, [
    JSON.stringify(jobIds),
    JSON.stringify([...reached].map(([fence, offset]) => ({ fence, reached: offset }))),
    length,
  ])
  // A chunk may have begun before that byte.
  return pieces.map(({ offset, bytes, ...claim }) => {
    const from = Math.max(offset, reached.get(claim.fence) ?? 0)
    return { ...claim, offset: from, bytes: bytes.subarray(from - offset) }
  })
}

/** The log of a job that is no execution is the standard output of its claims. */
const readStatement = `
select o.execution_id as "jobId", o.fence, min(o."offset") as "offset", string_agg(o.bytes, ''::bytea order by o."offset") as bytes
from json_array_elements_text($1::text::json) i(id)
join jobs j on j.id = i.id::uuid and j.type <> 'code.execute'
join execution_output o on o.execution_id = j.id and o.stream = 'stdout'
left join json_to_recordset($2::text::json) as p(fence bigint, reached bigint) on p.fence = o.fence
where o."offset" < coalesce(p.reached, 0) + $3::bigint and o."offset" + length(o.bytes) > coalesce(p.reached, 0)
group by o.execution_id, o.fence order by o.fence`
