import { slotClassOf, type AgentSummary, type ExecutorType, type SlotClass } from '@errand/shared'
import { listAgents } from './agents.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { allVersions } from './executor-version.ts'
import { isAmongHeld } from './is-held.ts'
import { placeInLine } from './place-in-line.ts'

/** What a job waits for, beside agents. */
export interface Need {
  executorType: ExecutorType
  labels: Readonly<Record<string, string>>
  enabled: boolean
  /** The executor's `max_concurrency`, and how many of its jobs are held. */
  limit: number | null
  held: number
}

/**
 * The row with `waiting_reason` in words: what it waits for now, where its agent has said nothing of it, and how many
 * are before it. Reads a few rows for each slot and at most a thousand of its queue; writes nothing.
 */
export async function withWaitingReason(db: Database, row: ExecutionRow): Promise<ExecutionRow> {
  const [explained] = await withWaitingReasons(db, [row])
  if (row.status !== 'waiting' || row.waiting_reason !== null) return explained!
  const place = await placeInLine(db, row)
  const reason = explained!.waiting_reason
  return { ...row, waiting_reason: place && reason ? `${reason}; ${place}` : (reason ?? place) }
}

/** The same for many, in their order, and without how many are before each. */
export async function withWaitingReasons(
  db: Database,
  rows: readonly ExecutionRow[],
): Promise<readonly ExecutionRow[]> {
  const unexplained = rows.filter((row) => row.status === 'waiting' && row.waiting_reason === null)
  const reasons =
    unexplained.length === 0
      ? new Map<number, string>()
      : await whyQueuesWait(db, new Set(unexplained.map((row) => row.queue_id)))
  return rows.map((row) => {
    if (row.status === 'retrying') return { ...row, waiting_reason: whyItRetries(row) }
    if (row.status === 'locked') return { ...row, waiting_reason: whyItIsLocked(row) }
    return unexplained.includes(row) ? { ...row, waiting_reason: reasons.get(row.queue_id) ?? null } : row
  })
}

function whyItRetries({ attempt, max_attempts, not_before }: ExecutionRow): string {
  const when = not_before === null ? '' : `, not before ${not_before.toISOString()}`
  return `attempt ${attempt} of ${max_attempts} came to nothing; the next is to come${when}`
}

function whyItIsLocked({ waiting_reason, locked_by }: ExecutionRow): string {
  const words = `it waits for the job ${locked_by}`
  return waiting_reason === null ? words : `${waiting_reason}; ${words}`
}

/** By queue: what its jobs wait for now. */
export async function whyQueuesWait(
  db: Database,
  queues: ReadonlySet<number>,
): Promise<ReadonlyMap<number, string>> {
  const given = [JSON.stringify([...queues])]
  const needs = await db.query<Need & { id: number }>(needsStatement, given)
  const ofAgents = await db.query<{ id: number; agentId: string }>(agentsStatement, given)
  const fleet = await readFleet(db)
  return new Map([
    ...needs.map((need) => [need.id, whyItWaits(need, fleet)] as const),
    ...ofAgents.map(({ id, agentId }) => [id, whyMaintenanceWaits(agentId, fleet.agents)] as const),
  ])
}

/** The agents, and what is known of them all. */
export interface Fleet {
  agents: readonly AgentSummary[]
  /** Of executions, by agent and class. */
  taken: readonly { agentId: string; slot: SlotClass; count: number }[]
  /** There was an outage in which no agent could renew, and no lease ends yet for that. */
  standsStill: boolean
}

async function readFleet(db: Database): Promise<Fleet> {
  const agents = await listAgents(db)
  const taken = await db.query<Fleet['taken'][number]>(takenStatement)
  const [control] = await db.query<{ stands: boolean }>(standsStatement)
  return { agents, taken, standsStill: control?.stands ?? false }
}

const takenStatement = `
select h.agent_id as "agentId", case h.executor_type when 'ssh' then 'ssh' else 'run' end as slot, count(*) as count
from jobs h where h.type = 'code.execute' and ${isAmongHeld('h')} group by 1, 2`

const standsStatement = `select coalesce(expiry_stands_until > clock_timestamp(), false) as stands from control`

const needsStatement = `
select q.id, e.executor_type as "executorType", q.labels, (v.settings->>'enabled')::boolean as enabled,
  (v.settings->>'max_concurrency')::int as "limit",
  (select count(*) from jobs h where h.executor_id = e.id and h.type = 'code.execute' and ${isAmongHeld('h')}) as held
from json_array_elements_text($1::text::json) i(id) join queues q on q.id = i.id::int
join code_executors e on e.id = q.executor_id join ${allVersions} v on v.config_id = e.config_id`

const agentsStatement = `
select q.id, q.agent_id as "agentId" from json_array_elements_text($1::text::json) i(id)
join queues q on q.id = i.id::int and q.agent_id is not null`

function whyMaintenanceWaits(agentId: string, agents: readonly AgentSummary[]): string {
  const agent = agents.find((one) => one.agent_id === agentId)
  if (agent === undefined) return 'its agent is gone'
  if (agent.status !== 'online') return `its agent ${agent.name} is ${agent.status}`
  return `every maintenance slot of its agent ${agent.name} is taken`
}

export function whyItWaits(need: Need, { agents, taken, standsStill }: Fleet): string {
  if (!need.enabled) return 'its executor is disabled'
  const { agents: taking, reason } = whoServes(need, agents)
  if (reason !== null)
    return standsStill && agents.some(({ status }) => status === 'offline')
      ? `${reason}; the API was away until a moment ago, and agents come back to it`
      : reason
  const { limit, held, executorType } = need
  if (limit !== null && held >= limit)
    return `its executor runs no more than ${limit} at once (max_concurrency), and ${held} are under way`
  const slot = slotClassOf(executorType)
  const slots = sum(taking.map(({ report }) => report?.slots[slot] ?? 0))
  const able = new Set(taking.map(({ agent_id }) => agent_id))
  const busy = sum(
    taken.filter((one) => one.slot === slot && able.has(one.agentId)).map(({ count }) => count),
  )
  if (busy >= slots)
    return `every slot of the agents that could take it is taken (${Math.min(busy, slots)} of ${slots})`
  return `its agents have slots (${busy} of ${slots} are taken), and have not asked for more yet`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}

/** The agents that would get jobs which need this, or in words why there are none. */
export function whoServes(
  { executorType, labels }: Pick<Need, 'executorType' | 'labels'>,
  agents: readonly AgentSummary[],
): { agents: AgentSummary[]; reason: string | null } {
  const none = (reason: string) => ({ agents: [], reason })
  if (agents.length === 0) return none('no agent is enrolled')
  const online = agents.filter((agent) => agent.status !== 'offline')
  if (online.length === 0) return none('no agent is online')
  const offering = online.filter((agent) => agent.report?.backends[executorType]?.available)
  if (offering.length === 0)
    return none(`no agent that is online offers ${executorType}${whatTheyLack(executorType, online)}`)
  const wanted = Object.entries(labels)
  const carrying = offering.filter((agent) => wanted.every(([key, value]) => agent.labels[key] === value))
  if (carrying.length === 0) {
    const words = wanted.map((one) => one.join('=')).join(', ')
    return none(`no agent that is online and offers ${executorType} has the labels ${words}`)
  }
  const taking = carrying.filter((agent) => agent.status === 'online')
  return taking.length === 0
    ? none('every agent that could take it is draining')
    : { agents: taking, reason: null }
}

/** What those say that have the backend and cannot use it: of a large fleet the first few. */
function whatTheyLack(executorType: ExecutorType, agents: readonly AgentSummary[]): string {
  const lacking = agents.flatMap(({ name, report }) =>
    (report?.backends[executorType]?.missing ?? []).map((words) => `${name}: ${words}`),
  )
  return lacking.length === 0 ? '' : ` (${lacking.slice(0, 3).join('; ')})`
}
