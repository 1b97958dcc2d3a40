import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** Counting ends here: how far back it is matters no more, and must not cost more. */
const most = 1_000

/** In words what comes before a waiting job in its queue; null where nothing does. */
export async function placeInLine(db: Database, row: ExecutionRow): Promise<string | null> {
  const [found] = await db.query<{ before: number; others: number }>(placeStatement, [row.id])
  if (found === undefined) return null
  const { before, others } = found
  const words = [
    ...(before > 0 ? [`${before === most ? `${most} or more jobs are` : jobsAre(before)} before it`] : []),
    ...(others > 0 ? ['jobs of other keys wait as well, and each key gets its turns'] : []),
  ]
  return words.length === 0 ? null : words.join('; ')
}

function jobsAre(count: number): string {
  return count === 1 ? '1 job is' : `${count} jobs are`
}

/** Before it: a higher priority, and in its own the older ones of its key. */
const placeStatement = `
with me as materialized (
  select id, queue_id, priority, key_id, created_at from jobs where id = $1 and status = 'waiting'
)
select (select count(*) from (
    (select from me join jobs j on j.queue_id = me.queue_id and j.status = 'waiting' and j.priority > me.priority limit ${most})
    union all
    (select from me join jobs j on j.queue_id = me.queue_id and j.status = 'waiting' and j.priority = me.priority
      and j.key_id = me.key_id and (j.created_at, j.id) < (me.created_at, me.id) limit ${most})
    limit ${most}
  ) before) as before,
  (select count(*) from (
    (select from jobs j where j.queue_id = me.queue_id and j.status = 'waiting' and j.priority = me.priority
      and j.key_id < me.key_id limit 1)
    union all
    (select from jobs j where j.queue_id = me.queue_id and j.status = 'waiting' and j.priority = me.priority
      and j.key_id > me.key_id limit 1)
  ) others) as others
from me`
