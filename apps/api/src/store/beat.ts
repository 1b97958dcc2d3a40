import type { TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { abandonParts, expireLeases, expireWaiting, wakeRetries } from './expire.ts'

/**
 * Every replica does this each `time.beatEveryMs`: it writes that an API was alive to take renewals, and in the same
 * transaction ends what has run out. After a gap, in which no agent could renew, leases stand still for a while.
 * Resolves to the jobs whose status changed.
 */
export function beat(db: Database, time: TimeConstants): Promise<ExecutionRow[]> {
  return db.transaction(async (tx) => {
    const [control] = await tx.query<{ stands: boolean }>(beatStatement, [time.beatGapMs, time.standStillMs])
    await tx.query(shortenStatement, [time.leaseMs])
    const expiring = control?.stands === false
    return [
      ...(expiring ? await expireLeases(tx, time) : []),
      ...(expiring ? await abandonParts(tx, time) : []),
      ...(await expireWaiting(tx)),
      ...(await wakeRetries(tx)),
    ]
  })
}

const beatStatement = `
update control set api_alive_at = clock_timestamp(),
  expiry_stands_until = case when api_alive_at < clock_timestamp() - $1::float8 * interval '1 millisecond'
    -- or the clock was set back: it stands no longer for that
    or expiry_stands_until > clock_timestamp() + $2::float8 * interval '1 millisecond'
    then clock_timestamp() + $2::float8 * interval '1 millisecond' else expiry_stands_until end
returning coalesce(expiry_stands_until > clock_timestamp(), false) as stands`

/** The database's clock was set back: no lease may last longer for that. */
const shortenStatement = `
update agents set lease_until = clock_timestamp() + $1::float8 * interval '1 millisecond'
where lease_until > clock_timestamp() + $1::float8 * interval '1 millisecond'`
