import { claimBy, claimStatement, isClaimable, type ClaimFrom } from './claim.ts'
import { isAmongHeld } from './is-held.ts'
import { columnsOf, isInLine, lineOrder, waitingLines } from './waiting-lines.ts'

/**
 * As `claim`, where jobs of several keys wait: in a priority the next slot goes to the key that has the fewest jobs on
 * this agent, running ones included; between equals chance decides, so that nothing must be remembered. Of a key the
 * older comes first. May give fewer than wait: whoever got any asks again.
 */
export const claimFairly: ClaimFrom = (db, given) => claimBy(fairStatement, db, given)

/** So many heads of line are looked at beyond those that are needed, since other claims may have their jobs locked. */
const spare = 16

/**
 * SQL steps for `claimStatement`: the lines that wait in the queues $3, how many jobs of these queues each key has on the
 * agent, and the lines whose turn it may be.
 */
export const fairSteps = `
waiting as (${waitingLines('session cross join json_array_elements_text($3::text::json) q(id)')}
), shares as materialized (
  select h.key_id, count(*) as held from session s join jobs h on h.agent_id = s.id and ${isAmongHeld('h')}
  where h.queue_id in (select id::int from json_array_elements_text($3::text::json) q(id)) group by h.key_id
), lines as materialized (
  select w.*, coalesce(s.held, 0) as held from waiting w left join shares s on s.key_id = w.key_id
  order by w.priority desc, held, random() limit $4::int + ${spare}
)`

/** SQL: the jobs at the head of a line, locked, at most `limit`. */
export function headOf(line: string, limit: string): string {
  return `select j.id, j.key_id, j.priority, j.created_at from jobs j
    where ${isInLine('j', columnsOf(line))} and ${isClaimable('j', 'session.id')}
    order by ${lineOrder('j')} limit ${limit} for no key update skip locked`
}

/** SQL, of a job `w` from the head of the line `l`: with the how manieth of its key's the agent would then be busy. */
export const turn = `l.held + row_number() over (partition by w.priority, w.key_id order by w.created_at, w.id)`

const fairStatement = claimStatement(`${fairSteps}, picked as materialized (
  select id from (
    select w.id, w.priority, ${turn} as turn
    from session cross join lines l cross join lateral (${headOf('l', '$4::int')}) w
  ) found order by priority desc, turn, random() limit $4::int
)`)
