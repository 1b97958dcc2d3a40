/**
 * SQL, the body of a recursive `waiting (queue_id, priority, key_id)`: the lines in which jobs wait in the queues `q (id)` of
 * `from`, those of one queue by priority. Found by going in the index from each line to the next, so that it costs
 * as much as there are lines, however long they are.
 */
export function waitingLines(from: string): string {
  return `
  select q.id::int as queue_id, f.priority, f.key_id from ${from} cross join lateral (
    select j.priority, j.key_id from jobs j where j.queue_id = q.id::int and j.status = 'waiting'
    order by j.priority desc, j.key_id limit 1
  ) f
  union all
  select w.queue_id, n.priority, n.key_id from waiting w cross join lateral (
    (select j.priority, j.key_id from jobs j where j.queue_id = w.queue_id and j.status = 'waiting'
      and j.priority = w.priority and j.key_id > w.key_id order by j.key_id limit 1)
    union all
    (select j.priority, j.key_id from jobs j where j.queue_id = w.queue_id and j.status = 'waiting'
      and j.priority < w.priority order by j.priority desc, j.key_id limit 1)
    limit 1
  ) n`
}

/**
 * SQL: the jobs of a line, in its order with `lineOrder`. Between a key and itself, since with the plain equation
 * PostgreSQL takes the index by age for the order, and goes through everybody's jobs there, the final ones too.
 */
export function isInLine(job: string, line: { queue: string; priority: string; key: string }): string {
  return `${job}.status = 'waiting' and ${job}.queue_id = ${line.queue} and ${job}.priority = ${line.priority}
    and ${job}.key_id between ${line.key} and ${line.key}`
}

/** Of a row of `waiting`. */
export function columnsOf(line: string): { queue: string; priority: string; key: string } {
  return { queue: `${line}.queue_id`, priority: `${line}.priority`, key: `${line}.key_id` }
}

export function lineOrder(job: string): string {
  return `${job}.key_id, ${job}.created_at, ${job}.id`
}
