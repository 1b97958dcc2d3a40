import {
  heldStatuses,
  slotClassOf,
  type ExecutorType,
  type SlotClass,
  type Slots,
  type Status,
} from '@errand/shared'
import type { Database } from './database.ts'
import { isAmongHeld } from './is-held.ts'
import { columnsOf, isInLine, lineOrder, waitingLines } from './waiting-lines.ts'

/** What there is to do and who is there to do it, now. */
export interface Load {
  /** By the database's clock. */
  at: Date
  /** Jobs that are not final. */
  jobs: readonly JobsAlike[]
  agents: readonly {
    id: string
    name: string
    status: 'online' | 'draining' | 'offline'
    slots: Slots | null
    lastSeenAt: Date | null
  }[]
}

export interface JobsAlike {
  project: string
  status: Status
  type: string
  executorType: ExecutorType
  queueId: number
  /** As an agent or a lock put it. */
  reason: string | null
  /** At most `countedUpTo` of what is not held. */
  count: number
  /** Of the oldest. */
  createdAt: Date
}

/** As `readLoad`, for many. */
export type ReadLoad = () => Promise<Load>

/** One look through the small indexes of what is not final; of what has ended it reads nothing. */
export async function readLoad(db: Database): Promise<Load> {
  const [[clock], jobs, agents] = await Promise.all([
    db.query<{ at: Date }>('select clock_timestamp() as at'),
    db.query<JobsAlike>(jobsStatement),
    db.query<Load['agents'][number]>(agentsStatement),
  ])
  return { at: clock!.at, jobs, agents }
}

/** So many of a line are counted, and of what is locked and retrying: an embedded database does nothing else meanwhile. */
export const countedUpTo = 5_000

const unheld = ['locked', 'retrying'] as const satisfies Status[]

/** All that wait in one line have one key, so one project; its head is its oldest. */
const jobsStatement = `
with recursive waiting as (${waitingLines('(select id from queues union all select 0) q')})
select h.project, 'waiting' as status, h.type, h.executor_type as "executorType", w.queue_id as "queueId",
  h.waiting_reason as reason, n.count, h.created_at as "createdAt"
from waiting w cross join lateral (
  select j.* from jobs j where ${isInLine('j', columnsOf('w'))} order by ${lineOrder('j')} limit 1
) h cross join lateral (
  select count(*) as count from (
    select from jobs j where ${isInLine('j', columnsOf('w'))} limit ${countedUpTo}
  ) line
) n
${unheld.map((one) => counted(`select * from jobs where status = '${one}' limit ${countedUpTo}`, 'waiting_reason')).join('')}
${counted(`select * from jobs j where ${isAmongHeld('j')}`, 'null')}`

function counted(jobs: string, reason: string): string {
  return `union all
select project, status, type, executor_type, queue_id, ${reason}, count(*), min(created_at) from (${jobs}) j group by 1, 2, 3, 4, 5, 6
`
}

const agentsStatement = `
select id, name, report->'slots' as slots, last_seen_at as "lastSeenAt",
  case when not coalesce(lease_until > clock_timestamp(), false) then 'offline' when draining then 'draining' else 'online' end as status
from agents where revoked_at is null`

/** Slots of the agents that are online, and how many of them are taken. */
export function slotsOf(load: Load, slot: SlotClass): { total: number; taken: number } {
  const online = load.agents.filter(({ status }) => status === 'online')
  const total = online.reduce((sum, { slots }) => sum + (slots?.[slot] ?? 0), 0)
  const held = load.jobs.filter((one) => (heldStatuses as readonly Status[]).includes(one.status))
  const taken = held.filter((one) => slotClassOfJob(one) === slot).reduce((sum, { count }) => sum + count, 0)
  return { total, taken }
}

function slotClassOfJob({ type, executorType }: JobsAlike): SlotClass {
  return type === 'code.execute' ? slotClassOf(executorType) : 'maintenance'
}

/** In seconds; null where none waits. */
export function oldestWait(load: Load, jobs: readonly JobsAlike[]): number | null {
  const since = jobs.filter(({ status }) => status === 'waiting').map(({ createdAt }) => createdAt.getTime())
  return since.length === 0 ? null : Math.max(0, load.at.getTime() - Math.min(...since)) / 1_000
}
