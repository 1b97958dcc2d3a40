import { setTimeout as sleep } from 'node:timers/promises'
import { dockerExecutor, localhostExecutor, submission, timeConstants } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { createSecrets } from '../secrets/secrets.ts'
import { setDraining } from './agents.ts'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { createExecutor } from './executors.ts'
import { abandonParts, expireLeases, expireWaiting, wakeRetries } from './expire.ts'
import { createFinish } from './finish.ts'
import { newId } from './new-id.ts'
import { planParts } from './plan-parts.ts'
import { createQueueFor } from './queues.ts'
import { settle } from './settle.ts'
import { submitJob } from './submit-job.ts'
import { createSubmit } from './submit.ts'
import { createAgentAtRandom, type AgentAtRandom, type Random } from './testing-agent-at-random.ts'
import { testingDatabases } from './testing-databases.ts'
import { enrollAgent } from './testing-scene.ts'
import { revokeAgent } from './revoke-agent.ts'

const time = { retryMinMs: 1, retryMaxMs: 4, lostAfterMs: 600_000, preferAgentMs: 5 }
const project = 'history'
const keyId = newId()
const sets = [[], ['six==1.17.0'], ['six==1.17.0', 'pip==25.0']]

/** How many do something at the same time, and how often each. */
const sizes = {
  PGlite: { actors: 3, acts: 150 },
  PostgreSQL: { actors: 8, acts: 150 },
} as const

describe.each(testingDatabases)(
  'whatever agents, callers and replicas do at once, on $name',
  ({ name, open }) => {
    it('every job ends once, as what it waited for ended, and nothing stays locked', async () => {
      // Others are tried by hand: which acts meet differs from run to run all the same.
      const seed = Number(process.env['ERRAND_TEST_SEED'] ?? 1)
      const random = randomOf(seed)
      const db = hesitating(await open(), random)
      try {
        const history = await openHistory(db, random)
        const { actors, acts } = sizes[name as keyof typeof sizes]
        await Promise.all(Array.from({ length: actors }, () => history.act(acts)))
        await history.comeToRest()
        await expect(history.judge()).resolves.toBeUndefined()
      } catch (error) {
        console.log(`seed ${seed}`)
        throw error
      } finally {
        await db.close()
      }
    })
  },
)

async function openHistory(db: Database, random: Random) {
  const secrets = await createSecrets(`test:${new Uint8Array(32).fill(1).toBase64()}`)
  const executors = [
    await makeExecutor('host', { executor_type: 'localhost', ...localhostExecutor.parse({}) }),
    await makeExecutor('image', {
      executor_type: 'docker',
      ...dockerExecutor.parse({ image: 'any/image:1' }),
    }),
  ]
  const submit = createSubmit(db)
  const finish = createFinish(db, time)
  const late: (() => Promise<unknown>)[] = []
  const seen = { starts: new Map(), told: new Map(), lockedBy: new Map<string, string>() }
  const agents: AgentAtRandom[] = []
  for (let n = 0; n < 3; n++) {
    const agent = createAgentAtRandom({ db, finish, random, time, late, seen }, await enrollAgent(db))
    await agent.connect({ certain: true })
    agents.push(agent)
  }
  const canceledByCallers = new Set<string>()
  /** How jobs that had ended looked when they were first seen so. */
  const ended = new Map<string, string>()
  const acts = [
    ...times(4, submitOne),
    ...times(2, askForMaintenance),
    ...times(6, () => claimFor()),
    ...times(12, () => random.pick(agents)!.work()),
    ...times(4, cancelOne),
    ...times(1, () => random.pick(agents)!.hearOfCancels()),
    ...times(2, () => random.pick(agents)!.connect({ certain: !random.chance(0.2) })),
    ...times(1, loseAgent),
    ...times(1, () => setDraining(db, random.pick(agents)!.agentId, random.chance(0.3))),
    ...times(2, beatOnce),
    ...times(6, settleAll),
    ...times(3, sayLate),
    ...times(1, observe),
    ...times(1, () => Promise.resolve(random.pick(agents)!.evict())),
    ...times(1, meddle),
  ]
  return { act, comeToRest, judge }

  async function act(times: number): Promise<void> {
    for (let n = 0; n < times; n++) await random.pick(acts)!()
  }

  async function makeExecutor(name: string, settings: Parameters<typeof createExecutor>[2]['settings']) {
    const executor = await createExecutor(db, secrets, { name, settings })
    if (typeof executor === 'string') throw new Error(executor)
    return { executor, queueId: await createQueueFor(db)(executor.executor_id, {}) }
  }

  async function submitOne(): Promise<void> {
    const { executor, queueId } = random.pick(executors)!
    await submit({
      id: newId(),
      project,
      keyId,
      idempotency: undefined,
      executor,
      queueId,
      runtime: 'python',
      limits: { timeout_sec: 30, output_limit_kb: 64 },
      requiredLimits: [],
      submission: submission.parse({
        executor: executor.name,
        code: '\0',
        dependencies: random.pick(sets),
        retry: { max_attempts: 1 + random.below(3) },
        ...(random.chance(0.05) && { expires_in_sec: 0.1 }),
      }),
    })
  }

  async function askForMaintenance(): Promise<void> {
    const { executor } = random.pick(executors)!
    const installs = executor.executor_type === 'localhost' || random.chance(0.5)
    const type = installs ? ('runtime.install' as const) : ('docker_image.download' as const)
    await submitJob(db, {
      id: newId(),
      project,
      keyId,
      idempotency: undefined,
      executor,
      type,
      runtime: 'python',
      params: { code_executor: executor.name, ...(installs && { dependencies: random.pick(sets.slice(1)) }) },
      timeoutSec: 60,
      maxAttempts: 2,
    })
  }

  /** Mostly something that waits for a part, and seldom a part. */
  async function cancelOne(): Promise<void> {
    const live = await db.query<{ id: string; part: boolean; locked: boolean }>(
      `select id, target_agent_id is not null as part, status = 'locked' as locked from jobs where outcome is null order by id`,
    )
    const of = random.chance(0.2)
      ? live.filter(({ part }) => part)
      : live.filter(({ part, locked }) => !part && (locked || random.chance(0.1)))
    const id = random.pick(of)?.id
    if (id === undefined) return
    canceledByCallers.add(id)
    await cancel(db, { id, project: null })
  }

  async function loseAgent(): Promise<void> {
    const agent = random.pick(agents)!
    agent.cutOff()
    if (random.chance(0.1) && agents.filter(({ usable }) => usable).length > 2) {
      agent.revoke()
      await revokeAgent(db, agent.agentId, timeConstants)
    } else if (random.chance(0.5))
      await db.query(`update agents set lease_until = now() - interval '1 second' where id = $1`, [
        agent.agentId,
      ])
  }

  async function beatOnce(): Promise<void> {
    await db.transaction(async (tx) => {
      await expireLeases(tx, time)
      await abandonParts(tx, time)
      await expireWaiting(tx)
      await wakeRetries(tx)
    })
  }

  async function sayLate(): Promise<void> {
    const [message] = late.splice(random.below(late.length || 1), 1)
    await message?.()
  }

  /** An agent says things of jobs that are not its own, or of its own what can't be. */
  async function meddle(): Promise<void> {
    const live = await db.query<{ id: string; fence: number }>(
      'select id, fence from jobs where outcome is null order by id',
    )
    const job = random.pick(live)
    if (job) await random.pick(agents)!.meddle(job)
  }

  async function claimFor(agent = random.pick(agents)!): Promise<void> {
    const rows = await db.query<{ id: number }>('select id from queues where agent_id = $1', [agent.agentId])
    const queues = [...executors.map(({ queueId }) => queueId), ...rows.map(({ id }) => id)]
    await agent.claimSome(queues, 1 + random.below(3))
  }

  /** What has ended has a status, a result and a progress that never change. */
  async function observe(): Promise<void> {
    const rows = await db.query<{ id: string; facts: unknown }>(
      `select j.id, jsonb_build_array(j.status, j.outcome, j.error, j.attempt, j.ended_at, m.progress, m.brought) as facts
       from jobs j left join maintenance_jobs m on m.id = j.id where j.outcome is not null`,
    )
    for (const { id, facts } of rows) {
      const before = ended.get(id)
      if (before !== undefined) expect(JSON.stringify(facts)).toBe(before)
      ended.set(id, JSON.stringify(facts))
    }
  }

  async function settleAll(): Promise<void> {
    if (random.chance(0.5)) await planParts(db)
    await settle(db, time)
  }

  async function comeToRest(): Promise<void> {
    for (let round = 0; round < 300; round++) {
      for (const say of late.splice(0)) await say()
      for (const agent of agents) {
        await setDraining(db, agent.agentId, false)
        if (!agent.attached) await agent.connect({ certain: true })
        await agent.hearOfCancels()
      }
      await db.query(`update jobs set not_before = now() where status in ('waiting', 'retrying')`)
      await beatOnce()
      await planParts(db)
      await settle(db, time)
      for (const agent of agents) {
        await claimFor(agent)
        for (let n = 0; n < 30 && (await agent.work(true)); n++);
        // What was lost on the way is found by the next inventory.
        if (round % 10 === 9) await agent.connect({ certain: true })
      }
      const [live] = await db.query<{ count: number }>(`select count(*) from jobs where outcome is null`)
      if (live!.count === 0) return
    }
    const left = await db.query(
      `select id, type, status, agent_id, locked_by, attempt, waiting_reason from jobs where outcome is null`,
    )
    throw new Error(`not at rest: ${JSON.stringify(left, null, 1)}`)
  }

  /** What it was locked by last, what that was, and so on. */
  function lockersOf(id: string): string[] {
    const by = seen.lockedBy.get(id)
    return by === undefined ? [] : [by, ...lockersOf(by)]
  }

  async function judge(): Promise<void> {
    await observe()
    // They would be tried again, each after a second in which all that they touch stands still.
    expect(await db.query(deadlocks)).toEqual([{ deadlocks: 0 }])
    expect(await db.query(wrongResults)).toEqual([])
    expect(await db.query(wrongAttempts)).toEqual([])
    expect(await db.query(wrongParents)).toEqual([])
    for (const job of await db.query<EndedJob>(endedJobs)) {
      const { id, type, outcome, error, fence, max_attempts, asked } = job
      const isExecution = type === 'code.execute'
      expect(seen.starts.get(id) ?? 0).toBeLessThanOrEqual(max_attempts)
      if (outcome === 'succeeded' && !asked) expect(seen.told.get(id)).toContain(`${fence} succeeded`)
      // Nobody waited for what was canceled as nobody did.
      if (isExecution || asked) expect(error ?? '').not.toContain('nobody waits')
      if (isExecution && error?.endsWith(': that was canceled'))
        expect(lockersOf(id).some((one) => canceledByCallers.has(one))).toBe(true)
      if (outcome === 'canceled' && (isExecution || asked) && !canceledByCallers.has(id))
        for (const one of job.canceled_parts ?? [id]) expect(canceledByCallers).toContain(one)
    }
  }
}

interface EndedJob {
  id: string
  type: string
  outcome: string
  error: string | null
  fence: number
  max_attempts: number
  asked: boolean
  canceled_parts: string[] | null
}

const endedJobs = `
select id, type, outcome, error, fence, max_attempts,
  (select jsonb_agg(p.id) filter (where p.outcome = 'canceled') from job_parts jp join jobs p on p.id = jp.part_id
    where jp.job_id = j.id) as canceled_parts, queue_id = 0 as asked
from jobs j`

function randomOf(seed: number): Random {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let one = Math.imul(state ^ (state >>> 15), 1 | state)
    one = (one + Math.imul(one ^ (one >>> 7), 61 | one)) ^ one
    return ((one ^ (one >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number) => Math.floor(next() * bound)
  return { below, chance: (share) => next() < share, pick: (of) => of[below(of.length)] }
}

/** So that whatever others may do between two statements of a transaction is done there. */
function hesitating(db: Database, random: Random): Database {
  return {
    ...db,
    transaction: (act) =>
      db.transaction((tx) => {
        const query = async <Row>(text: string, params?: readonly unknown[]) => {
          if (random.chance(0.3)) await sleep(random.below(5))
          return tx.query<Row>(text, params)
        }
        return act({ ...tx, query })
      }),
  }
}

function times<T>(count: number, what: T): T[] {
  return Array.from({ length: count }, () => what)
}

const deadlocks = 'select deadlocks from pg_stat_database where datname = current_database()'

const wrongResults = `
select j.id, j.outcome, r.outcome as told from jobs j full join code_execution_results r on r.id = j.id
where (j.type = 'code.execute') is distinct from (r.id is not null) or r.outcome <> j.outcome`

/** Each attempt that was followed by another is kept once, and they are counted in order. */
const wrongAttempts = `
select j.id, j.attempt, j.max_attempts, a.* from jobs j cross join lateral (
  select count(*) as count, count(distinct a.attempt) as different, max(a.attempt) as newest from job_attempts a
  where a.job_id = j.id) a
where j.attempt > j.max_attempts or a.newest > j.attempt`

/** A job in parts ends after all of them, as they did. */
const wrongParents = `
select j.id, j.outcome, p.outcomes, j.error from jobs j cross join lateral (
  select array_agg(p.outcome) as outcomes, max(p.ended_at) as ended_at from job_parts jp join jobs p on p.id = jp.part_id
  where jp.job_id = j.id) p
where j.queue_id = 0 and case j.outcome
  when 'succeeded' then 'succeeded' <> all (p.outcomes) or p.outcomes is null or p.ended_at > j.ended_at
  when 'canceled' then false
  else not p.outcomes && array['infra_error', 'lost', 'rejected', 'timed_out', 'failed'] or p.ended_at > j.ended_at end`
