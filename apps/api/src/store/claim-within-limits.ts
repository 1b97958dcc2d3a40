import { claimStatement, isClaimable, toClaim, type Claim, type ClaimRow } from './claim.ts'
import { claimFairly, fairSteps, headOf, turn } from './claim-fairly.ts'
import type { Database } from './database.ts'
import { allVersions } from './executor-version.ts'
import { isAmongHeld } from './is-held.ts'

export type ClaimWithinLimits = (given: {
  agentId: string
  epoch: number
  free: readonly number[]
  limited: readonly number[]
  slots: number
}) => Promise<Claim[]>

/**
 * As `claimFairly`, where some of the queues belong to executors with a `max_concurrency`: of each of those no more jobs are
 * held at once than that, whoever claims. `limited` are those queues, `free` the others. Who holds the lock of an
 * executor is the only one who claims of it, and counts only then; so it takes a transaction, which only agents pay for
 * that serve such an executor while it has something to claim and room for it.
 */
export function createClaimWithinLimits(db: Database): ClaimWithinLimits {
  let turn: Promise<unknown> = Promise.resolve()

  return async function claimWithinLimits({ agentId, epoch, free, limited, slots }) {
    const open = await db.query<{ id: number; executor_id: string }>(openStatement, [
      JSON.stringify(limited),
      agentId,
    ])
    if (open.length === 0) return claimFairly(db, { agentId, epoch, queues: free, slots })
    const executors = JSON.stringify([...new Set(open.map((one) => one.executor_id))])
    const queues = JSON.stringify([...free, ...open.map((one) => one.id)])
    return inTurn(() =>
      db.transaction(async (tx) => {
        // In a statement of its own: the next one sees what the holder before has committed.
        await tx.query(lockStatement, [executors])
        const given = [agentId, epoch, queues, slots, executors]
        return (await tx.query<ClaimRow>(claimWithRoomStatement, given)).map(toClaim)
      }),
    )
  }

  /** So those of one replica wait for each other here, and not each with a connection that others need. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = turn.then(act)
    turn = mine.catch(() => {})
    return mine
  }
}

/** SQL, of a row `e` of `code_executors` and `v` of its version: how many more of its jobs may be held; null: any number. */
const room = `case when v.settings ? 'max_concurrency' then greatest(0, (v.settings->>'max_concurrency')::int
  - (select count(*) from jobs h where h.executor_id = e.id and h.type = 'code.execute' and ${isAmongHeld('h')})) end`

/** A look without a lock: what has filled up since is found out under the lock, what has become free brings a kick. */
const openStatement = `
with busy as materialized (
  select q.id, q.executor_id from json_array_elements_text($1::text::json) i(id) join queues q on q.id = i.id::int
  where exists (select from jobs j where j.queue_id = q.id and ${isClaimable('j', '$2::uuid')})
), open as materialized (
  select e.id from code_executors e join ${allVersions} v on v.config_id = e.config_id
  where e.id in (select executor_id from busy) and ${room} is distinct from 0
)
select b.id, b.executor_id from busy b join open o on o.id = b.executor_id`

/** Any number that nothing else locks with. */
const lockClass = 7_266_402

/** In one order everywhere, so that two who need several never wait for each other. */
const lockStatement = `
select pg_advisory_xact_lock(${lockClass}, key)
from (select distinct hashtext(id) as key from json_array_elements_text($1::text::json) i(id) order by 1) keys`

/** An executor may have several queues, one for each set of labels it has had: its room is for all of them together. */
const claimWithRoomStatement = claimStatement(`${fairSteps}, rooms as materialized (
  select e.id as executor_id, ${room} as room from code_executors e join ${allVersions} v on v.config_id = e.config_id
  where e.id in (select id::uuid from json_array_elements_text($5::text::json) i(id))
), picked as materialized (
  select id from (
    select t.*, row_number() over (partition by executor_id order by priority desc, turn, chance) as place from (
      select w.*, q.executor_id, r.room, ${turn} as turn, random() as chance
      from session cross join lines l join queues q on q.id = l.queue_id left join rooms r on r.executor_id = q.executor_id
      cross join lateral (${headOf('l', 'least($4::int, r.room)')}) w
    ) t
  ) found where room is null or place <= room
  order by priority desc, turn, chance limit $4::int
)`)
