import { isFinal, type Status, type Stream } from '@errand/shared'
import type { Database } from './database.ts'

/** How many bytes of a stream are stored. */
export interface StoredOutput {
  fence: number
  bytes: number
  /** Whether it can't grow any more. */
  final: boolean
}

/** The output of an execution's last claim. `project` null: any project. */
export async function findOutput(
  db: Database,
  given: { id: string; project: string | null; stream: Stream },
): Promise<StoredOutput | undefined> {
  const { id, project, stream } = given
  const [row] = await db.query<{ fence: number; status: Status; bytes: number }>(findStatement[stream], [
    id,
    project,
  ])
  return row && { fence: row.fence, bytes: row.bytes, final: isFinal(row.status) }
}

const findStatement = forEachStream(
  (stream) => `
select j.fence, j.status, coalesce(length(r.${stream}), (
  select o."offset" + length(o.bytes) from execution_output o
  where o.execution_id = j.id and o.fence = j.fence and o.stream = '${stream}' order by o."offset" desc limit 1), 0)::bigint as bytes
from jobs j left join code_execution_results r on r.id = j.id
where j.id = $1 and j.type = 'code.execute' and ($2::text is null or j.project = $2::text)`,
)

/** At most `length` bytes of that claim's output from `offset` on; none when there are no more. Loads no more than that. */
export async function readOutput(
  db: Database,
  given: { id: string; fence: number; stream: Stream; offset: number; length: number },
): Promise<Uint8Array> {
  const { id, fence, stream, offset, length } = given
  const [row] = await db.query<{ bytes: Uint8Array }>(readStatement[stream], [id, fence, offset, length])
  return row!.bytes
}

/** Pieces begin with the one that has the first byte; a byte range of each is cut out where it lies. */
const readStatement = forEachStream(
  (stream) => `
with range as (select $3::bigint as first, $3::bigint + $4::bigint as beyond)
select coalesce(
  (select substring(r.${stream} from ($3::bigint + 1)::int for $4::int) from code_execution_results r
    where r.id = $1 and r.fence = $2),
  (select string_agg(substring(o.bytes from greatest(first - o."offset", 0)::int + 1
      for (least(beyond, o."offset" + length(o.bytes)) - greatest(first, o."offset"))::int), ''::bytea order by o."offset")
    from range, execution_output o
    where o.execution_id = $1 and o.fence = $2 and o.stream = '${stream}' and o."offset" < beyond
      and o."offset" + length(o.bytes) > first
      and o."offset" >= coalesce((select max(p."offset") from execution_output p
        where p.execution_id = $1 and p.fence = $2 and p.stream = '${stream}' and p."offset" <= $3::bigint), 0)),
  ''::bytea) as bytes`,
)

function forEachStream(text: (stream: Stream) => string): Record<Stream, string> {
  return { stdout: text('stdout'), stderr: text('stderr') }
}
