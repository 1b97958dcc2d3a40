import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { isInLine, lineOrder } from './waiting-lines.ts'

/** Counting ends here: how far back it is matters no more, and must not cost more. */
const most = 1_000

/** In words what comes before a waiting job in its queue; null where nothing does. */
export async function placeInLine(db: Database, row: ExecutionRow): Promise<string | null> {
  const { queue_id, priority, key_id, created_at, id } = row
  const given = [queue_id, priority, key_id, created_at.toISOString(), id]
  const [found] = await db.query<{ before: number; others: number }>(placeStatement, given)
  const { before, others } = found!
  const words = [
    ...(before > 0 ? [`${before >= most ? `${most} or more jobs are` : jobsAre(before)} before it`] : []),
    ...(others > 0 ? ['jobs of other keys wait as well, and each key gets its turns'] : []),
  ]
  return words.length === 0 ? null : words.join('; ')
}

function jobsAre(count: number): string {
  return count === 1 ? '1 job is' : `${count} jobs are`
}

const inQueue = `select from jobs j where j.status = 'waiting' and j.queue_id = $1::int`

/**
 * Before it: a higher priority, and in its own the older ones of its key. Those are looked for among the first of the
 * line, since a look from its place on would go by age through the jobs of everybody.
 */
const placeStatement = `
select (select count(*) from (${inQueue} and j.priority > $2::int limit ${most}) higher)
  + (select count(*) from (
      select j.created_at, j.id from jobs j
      where ${isInLine('j', { queue: '$1::int', priority: '$2::int', key: '$3::uuid' })}
      order by ${lineOrder('j')} limit ${most}
    ) line where (line.created_at, line.id) < ($4::text::timestamptz, $5::uuid)) as before,
  (select count(*) from (
    (${inQueue} and j.priority = $2::int and j.key_id < $3::uuid limit 1)
    union all (${inQueue} and j.priority = $2::int and j.key_id > $3::uuid limit 1)
  ) others) as others`
