import { Hono } from 'hono'
import {
  mostToAttend,
  outcome,
  slotClass,
  type Outcome,
  type Stats,
  type Status,
  type TimeConstants,
} from '@errand/shared'
import type { AppEnv } from '../http/app-env.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import type { Database } from '../store/database.ts'
import { createEndedLately, type Minute } from '../store/ended-lately.ts'
import {
  countedUpTo,
  oldestWait,
  slotsOf,
  type JobsAlike,
  type Load,
  type ReadLoad,
} from '../store/read-load.ts'
import { readSeldom } from '../store/read-seldom.ts'
import { whyQueuesWait } from '../store/waiting-reason.ts'

interface Figures {
  load: Load
  minutes: readonly Minute[]
  /** By queue, where no agent has said it: what its jobs wait for. */
  reasons: ReadonlyMap<number, string>
}

/** Figures for an overview, read once for all who ask. */
export function statsRoute(
  { db, time }: { db: Database; time: TimeConstants },
  readLoad: ReadLoad,
): Hono<AppEnv> {
  const endedLately = createEndedLately(db)
  const figures = readSeldom(async (): Promise<Figures> => {
    const load = await readLoad()
    const unexplained = load.jobs.filter(({ status, reason }) => status === 'waiting' && reason === null)
    return {
      load,
      minutes: await endedLately(load.at),
      reasons: await whyQueuesWait(db, new Set(unexplained.map(({ queueId }) => queueId))),
    }
  }, time.figuresEveryMs)

  return new Hono<AppEnv>().get('/stats', async (c) => {
    validQuery(c, noQuery)
    return c.json(seenBy(visibleProject(c), await figures()))
  })
}

/** `project`: whose executions are counted; null: all. */
function seenBy(project: string | null, { load, minutes, reasons }: Figures): Stats {
  const sees = (one: { project: string }) => project === null || one.project === project
  const jobs = load.jobs.filter((one) => one.type === 'code.execute' && sees(one))
  const counted = (status: Status) => total(jobs.filter((one) => one.status === status))
  const agents = (status: Load['agents'][number]['status']) =>
    load.agents.filter((one) => one.status === status).length
  const ended = minutes.map(({ beginsAt, ended }) => ({ beginsAt, ended: ended.filter(sees) }))
  return {
    as_of: load.at.toISOString(),
    agents: { online: agents('online'), draining: agents('draining'), offline: agents('offline') },
    slots: Object.fromEntries(slotClass.options.map((one) => [one, slotsOf(load, one)])) as Stats['slots'],
    queue: {
      length: counted('waiting'),
      more: jobs.some(({ status, count }) => status === 'waiting' && count >= countedUpTo),
      oldest_wait_sec: oldestWait(load, jobs),
    },
    executions: {
      waiting: counted('waiting'),
      locked: counted('locked'),
      retrying: counted('retrying'),
      assigned: counted('assigned'),
      running: counted('running'),
      canceling: counted('canceling'),
    },
    last_hour: {
      ended: total(ended.flatMap((one) => one.ended)),
      outcomes: {
        ...(Object.fromEntries(outcome.options.map((one) => [one, 0])) as Record<Outcome, number>),
        ...byOutcome(ended.flatMap((one) => one.ended)),
      },
      per_minute: total(ended.slice(-6, -1).flatMap((one) => one.ended)) / 5,
      minutes: ended.map((one) => ({
        begins_at: new Date(one.beginsAt).toISOString(),
        outcomes: byOutcome(one.ended),
      })),
    },
    attention: { waiting: whatWaits(load, jobs, reasons), agents_away: whoIsAway(load) },
  }
}

function total(all: readonly { count: number }[]): number {
  return all.reduce((sum, { count }) => sum + count, 0)
}

function byOutcome(ended: Minute['ended']): Partial<Record<Outcome, number>> {
  const counts: Partial<Record<Outcome, number>> = {}
  for (const { outcome, count } of ended) counts[outcome] = (counts[outcome] ?? 0) + count
  return counts
}

function whatWaits(
  load: Load,
  jobs: readonly JobsAlike[],
  reasons: Figures['reasons'],
): Stats['attention']['waiting'] {
  const groups = new Map<string, Stats['attention']['waiting'][number]>()
  for (const { status, reason, queueId, count, createdAt } of jobs) {
    if (status !== 'waiting' && status !== 'locked' && status !== 'retrying') continue
    const words =
      reason ??
      (status === 'retrying' ? 'an attempt came to nothing, and the next is to come' : reasons.get(queueId))
    if (words === undefined) continue
    const key = `${status} ${words}`
    const group = groups.get(key) ?? { status, reason: words, count: 0, oldest_sec: 0 }
    group.count += count
    group.oldest_sec = Math.max(group.oldest_sec, (load.at.getTime() - createdAt.getTime()) / 1_000)
    groups.set(key, group)
  }
  return [...groups.values()].sort((a, b) => b.oldest_sec - a.oldest_sec).slice(0, mostToAttend)
}

function whoIsAway({ agents }: Load): Stats['attention']['agents_away'] {
  return agents
    .filter(({ status }) => status === 'offline')
    .sort((a, b) => (a.lastSeenAt?.getTime() ?? 0) - (b.lastSeenAt?.getTime() ?? 0))
    .slice(0, mostToAttend)
    .map(({ id, name, lastSeenAt }) => ({
      agent_id: id,
      name,
      last_seen_at: lastSeenAt?.toISOString() ?? null,
    }))
}
