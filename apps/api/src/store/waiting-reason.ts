import type { AgentSummary, ExecutorType } from '@errand/shared'
import { listAgents } from './agents.ts'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { allVersions } from './executor-version.ts'
import { isAmongHeld } from './is-held.ts'

/** What a job waits for, beside agents. */
export interface Need {
  executorType: ExecutorType
  labels: Readonly<Record<string, string>>
  enabled: boolean
  /** The executor's `max_concurrency`, and how many of its jobs are held. */
  limit: number | null
  held: number
}

/** The row with `waiting_reason` in words where it waits for an agent and nobody has said why: what is known now. */
export async function withWaitingReason(db: Database, row: ExecutionRow): Promise<ExecutionRow> {
  const [explained] = await withWaitingReasons(db, [row])
  return explained!
}

/** The same for many, in their order. */
export async function withWaitingReasons(
  db: Database,
  rows: readonly ExecutionRow[],
): Promise<readonly ExecutionRow[]> {
  const unexplained = rows.filter((row) => row.status === 'waiting' && row.waiting_reason === null)
  if (unexplained.length === 0) return rows
  const reasons = await whyQueuesWait(db, new Set(unexplained.map((row) => row.queue_id)))
  const explain = (row: ExecutionRow) => ({ ...row, waiting_reason: reasons.get(row.queue_id) ?? null })
  return rows.map((row) => (unexplained.includes(row) ? explain(row) : row))
}

/** By queue: what its jobs wait for now. */
export async function whyQueuesWait(
  db: Database,
  queues: ReadonlySet<number>,
): Promise<ReadonlyMap<number, string>> {
  const given = [JSON.stringify([...queues])]
  const needs = await db.query<Need & { id: number }>(needsStatement, given)
  const ofAgents = await db.query<{ id: number; agentId: string }>(agentsStatement, given)
  const agents = await listAgents(db)
  return new Map([
    ...needs.map((need) => [need.id, whyItWaits(need, agents)] as const),
    ...ofAgents.map(({ id, agentId }) => [id, whyMaintenanceWaits(agentId, agents)] as const),
  ])
}

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

export function whyItWaits(need: Need, agents: readonly AgentSummary[]): string {
  if (!need.enabled) return 'its executor is disabled'
  const { reason } = whoServes(need, agents)
  if (reason !== null) return reason
  const { limit, held } = need
  if (limit !== null && held >= limit)
    return `its executor runs no more than ${limit} at once (max_concurrency), and ${held} are under way`
  return 'every slot of the agents that could take it is taken'
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
