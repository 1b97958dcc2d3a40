import { z } from 'zod'
import { slotClass } from './agent.ts'
import { outcome, status } from './status.ts'
import { name } from './text.ts'

const count = z.int().min(0)
const wait = z.number().min(0)

/** At most so many of each are named in `attention`: the longest waits, the longest away. */
export const mostToAttend = 20

/**
 * `GET /stats`: figures for an overview. Executions are those that the caller's key sees; agents and slots are the whole
 * fleet. Seconds.
 */
export const stats = z.strictObject({
  /** By the database's clock; a replica answers with the same figures for a second or more. */
  as_of: z.iso.datetime(),
  agents: z.strictObject({ online: count, draining: count, offline: count }),
  /** Of the agents that are online. */
  slots: z.record(slotClass, z.strictObject({ total: count, taken: count })),
  queue: z.strictObject({
    /** Executions that are `waiting`; of a key, executor and priority no more than 5,000 are counted. */
    length: count,
    /** There are more than were counted. */
    more: z.boolean(),
    oldest_wait_sec: wait.nullable(),
  }),
  /** Executions that are not final. */
  executions: z.record(status.exclude(['completed', 'failed', 'timeout', 'canceled']), count),
  /** What ended within the last 60 minutes, the current one included. */
  last_hour: z.strictObject({
    ended: count,
    outcomes: z.record(outcome, count),
    /** Ended in a minute, over the last five whole ones. */
    per_minute: z.number().min(0),
    /** Oldest first, one for each of the 60; the last is the current one and not over. */
    minutes: z.array(
      z.strictObject({ begins_at: z.iso.datetime(), outcomes: z.partialRecord(outcome, count) }),
    ),
  }),
  /** What a person may have to see to. */
  attention: z.strictObject({
    /** Executions that do not get on, by why. */
    waiting: z.array(
      z.strictObject({
        status: z.enum(['waiting', 'locked', 'retrying']),
        reason: z.string(),
        count,
        oldest_sec: wait,
      }),
    ),
    /** Agents that are offline. */
    agents_away: z.array(
      z.strictObject({ agent_id: z.uuid(), name, last_seen_at: z.iso.datetime().nullable() }),
    ),
  }),
})
export type Stats = z.infer<typeof stats>
