import type { Agent, AgentSummary } from '@errand/shared'
import { agents } from '@errand/drizzle/schema'
import { and, eq, isNull } from 'drizzle-orm'
import type { Database } from './database.ts'
import { isUniqueViolation } from './unique-violation.ts'
import { isAmongHeld } from './is-held.ts'

/** The raw Ed25519 public key in base64 of an agent that is not revoked. */
export async function findAgentKey(db: Database, agentId: string): Promise<string | undefined> {
  const [row] = await db.query<{ public_key: string }>(
    'select public_key from agents where id = $1 and revoked_at is null',
    [agentId],
  )
  return row?.public_key
}

/** Those that are not revoked, by name. */
export async function listAgents(db: Database): Promise<AgentSummary[]> {
  const rows = await db.query<AgentRow>(
    `select ${columns} from agents a where a.revoked_at is null order by a.name`,
  )
  return rows.map(toSummary)
}

export async function getAgent(db: Database, agentId: string): Promise<Agent | undefined> {
  const [row] = await db.query<AgentRow & Pick<Agent, 'stock'>>(
    `select ${columns}, a.stock from agents a where a.revoked_at is null and a.id = $1`,
    [agentId],
  )
  return row && { ...toSummary(row), stock: row.stock }
}

type Times = 'last_seen_at' | 'created_at'
type AgentRow = Omit<AgentSummary, Times> & Record<Times, Date>

const columns = `a.id as agent_id, a.name, a.labels, a.epoch, a.last_seen_at, a.created_at, a.report,
  case when not coalesce(a.lease_until > clock_timestamp(), false) then 'offline'
    when a.draining then 'draining' else 'online' end as status,
  (select count(*) from jobs j where j.agent_id = a.id and ${isAmongHeld('j')}) as jobs_held`

function toSummary(row: AgentRow): AgentSummary {
  return {
    ...row,
    last_seen_at: row.last_seen_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
  }
}

/** Labels replace all that there were; sessions that are open learn of them at their next connect. */
export async function patchAgent(
  db: Database,
  agentId: string,
  patch: { name?: string | undefined; labels?: Record<string, string> | undefined },
): Promise<Agent | 'unknown' | 'name_taken'> {
  try {
    // A patch without fields is no UPDATE that SQL could say.
    if (patch.name !== undefined || patch.labels !== undefined)
      await db.drizzle.update(agents).set(patch).where(isLive(agentId))
  } catch (error) {
    if (isUniqueViolation(error)) return 'name_taken'
    throw error
  }
  return (await getAgent(db, agentId)) ?? 'unknown'
}

/** A draining agent is given nothing new. */
export async function setDraining(
  db: Database,
  agentId: string,
  draining: boolean,
): Promise<Agent | 'unknown'> {
  await db.drizzle.update(agents).set({ draining }).where(isLive(agentId))
  return (await getAgent(db, agentId)) ?? 'unknown'
}

function isLive(agentId: string) {
  return and(eq(agents.id, agentId), isNull(agents.revoked_at))
}
