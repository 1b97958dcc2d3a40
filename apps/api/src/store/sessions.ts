import type { AgentReport, TimeConstants } from '@errand/shared'
import { createBatcher } from './batch.ts'
import type { Database } from './database.ts'
import { storableJson, storableText } from './storable-text.ts'

export interface Session {
  /** Rises with every connect of this agent; older ones can claim and tell nothing any more. */
  epoch: number
  /** Whether boot and spool are those that were registered: only then does "not held" prove "never started". */
  certain: boolean
  name: string
  labels: Record<string, string>
  draining: boolean
  /** The database's clock, Unix milliseconds. */
  serverTimeMs: number
}

/** The newest session of an agent, with a lease. */
export async function openSession(
  db: Database,
  given: { agentId: string; bootId: string; spoolId: string; report: AgentReport; leaseMs: number },
): Promise<Session | 'unknown' | 'revoked'> {
  const { agentId, bootId, spoolId, report, leaseMs } = given
  const [row] = await db.query<Session & { revoked: boolean }>(openStatement, [
    agentId,
    storableText(bootId),
    storableText(spoolId),
    JSON.stringify(storableJson(report)),
    leaseMs,
  ])
  if (row === undefined) return 'unknown'
  const { revoked, ...session } = row
  return revoked ? 'revoked' : session
}

/**
 * `certain` stays false until `reconcile` has settled what was held: were it judged by the newest ids alone, a
 * connection that broke in between would make the next one look certain.
 */
const openStatement = `
with known as materialized (select * from agents where id = $1 for no key update),
opened as (
  update agents a set epoch = a.epoch + 1, boot_id = $2, spool_id = $3, report = $4::text::jsonb, last_seen_at = now(),
    certain = a.certain and coalesce(a.boot_id = $2 and a.spool_id = $3, true),
    lease_until = clock_timestamp() + $5::float8 * interval '1 millisecond'
  from known where a.id = known.id and a.revoked_at is null returning a.*
)
select k.name, coalesce(o.epoch, 0) as epoch, coalesce(o.certain, false) as certain, k.labels, k.draining,
  k.revoked_at is not null as revoked, floor(extract(epoch from clock_timestamp()) * 1000)::float8 as "serverTimeMs"
from known k left join opened o on o.id = k.id`

export interface Renewed {
  /** The database's clock, Unix milliseconds. */
  serverTimeMs: number
  /** It was given jobs more than a renewal ago that have not begun: perhaps they never came (`assignedButNotHeld`). */
  mayMiss: boolean
}

/** Undefined when the agent has a newer session or was revoked. */
export type Renew = (session: { agentId: string; epoch: number }) => Promise<Renewed | undefined>

/** Renews leases; of many agents at once in one statement. */
export function createRenew(db: Database, time: Pick<TimeConstants, 'leaseMs' | 'renewEveryMs'>): Renew {
  const keyOf = (agentId: string, epoch: number): string => `${agentId} ${epoch}`
  return createBatcher({
    weigh: () => 64,
    async run(sessions) {
      const rows = await db.query<Renewed & { agentId: string; epoch: number }>(renewStatement, [
        JSON.stringify(sessions),
        time.leaseMs,
        time.renewEveryMs,
      ])
      const renewed = new Map(rows.map(({ agentId, epoch, ...one }) => [keyOf(agentId, epoch), one]))
      return sessions.map(({ agentId, epoch }) => renewed.get(keyOf(agentId, epoch)))
    },
  })
}

const renewStatement = `
with input as (select distinct * from json_to_recordset($1::text::json) as i("agentId" uuid, epoch bigint)),
alive as materialized (
  select a.id from input i join agents a on a.id = i."agentId" and a.epoch = i.epoch and a.revoked_at is null
  order by a.id for no key update of a
)
update agents a set last_seen_at = now(),
  lease_until = clock_timestamp() + $2::float8 * interval '1 millisecond'
from alive where a.id = alive.id
returning a.id as "agentId", a.epoch, floor(extract(epoch from clock_timestamp()) * 1000)::float8 as "serverTimeMs",
  exists (select from jobs j where j.agent_id = a.id and j.epoch = a.epoch and j.status = 'assigned'
    and j.assigned_at < now() - $3::float8 * interval '1 millisecond') as "mayMiss"`

/** How the rows of these agents stand now. */
export function listSessions(
  db: Database,
  agentIds: readonly string[],
): Promise<{ id: string; epoch: number; labels: Record<string, string>; revoked: boolean }[]> {
  return db.query(
    `select a.id, a.epoch, a.labels, a.revoked_at is not null as revoked
     from json_array_elements_text($1::text::json) i(id) join agents a on a.id = i.id::uuid`,
    [JSON.stringify(agentIds)],
  )
}
