import type { Agent, BackendReport, ExecutorType } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'
import { lock } from './lock.ts'
import { newId } from './new-id.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene } from './testing-scene.ts'
import { whyItWaits, withWaitingReason, withWaitingReasons, type Need } from './waiting-reason.ts'

const offers = { available: true, isolation: null, missing: [] }
const lacks = (...missing: string[]) => ({ available: false, isolation: null, missing })
const reporting = (backends: Partial<Record<ExecutorType, BackendReport>>) => ({
  hostname: 'h',
  version: '1',
  platform: 'linux',
  backends,
  runtimes: {},
  slots: { run: 1, ssh: 16, maintenance: 0 },
})
const agent = (given: Partial<Agent> = {}): Agent => ({
  agent_id: crypto.randomUUID(),
  name: 'a',
  labels: {},
  status: 'online',
  epoch: 1,
  last_seen_at: null,
  created_at: new Date().toISOString(),
  jobs_held: 0,
  stock: null,
  report: reporting({ localhost: offers }),
  ...given,
})
const gpu = { gpu: 'yes' }
const busy = crypto.randomUUID()
const taken = [
  { agentId: busy, slot: 'run' as const, count: 1 },
  { agentId: busy, slot: 'ssh' as const, count: 2 },
]
const need = (given: Partial<Need> = {}): Need => ({
  executorType: 'localhost',
  labels: {},
  enabled: true,
  limit: null,
  held: 0,
  ...given,
})

it.each<[string, Partial<Need>, Agent[]]>([
  ['its executor is disabled', { enabled: false }, [agent()]],
  ['no agent is enrolled', {}, []],
  ['no agent is online', {}, [agent({ status: 'offline' })]],
  ['no agent that is online offers localhost', {}, [agent({ report: null }), agent({ status: 'offline' })]],
  ['no agent that is online offers ssh', { executorType: 'ssh' }, [agent()]],
  [
    'no agent that is online offers docker (a: docker is not there: apt-get install docker.io)',
    { executorType: 'docker' },
    [
      agent({ report: reporting({ docker: lacks('docker is not there: apt-get install docker.io') }) }),
      agent({ status: 'offline', report: reporting({ docker: offers }) }),
    ],
  ],
  ['no agent that is online and offers localhost has the labels gpu=yes', { labels: gpu }, [agent()]],
  [
    'every agent that could take it is draining',
    { labels: gpu },
    [agent({ labels: gpu, status: 'draining' }), agent()],
  ],
  [
    'every slot of the agents that could take it is taken (1 of 1)',
    { labels: gpu },
    [agent({ agent_id: busy, labels: gpu }), agent()],
  ],
  [
    'every slot of the agents that could take it is taken (1 of 1)',
    { limit: 3, held: 2 },
    [agent({ agent_id: busy })],
  ],
  [
    'its agents have slots (1 of 2 are taken), and have not asked for more yet',
    {},
    [agent({ agent_id: busy }), agent()],
  ],
  [
    'its agents have slots (2 of 16 are taken), and have not asked for more yet',
    { executorType: 'ssh' },
    [agent({ agent_id: busy, report: reporting({ ssh: offers }) })],
  ],
  [
    'its executor runs no more than 2 at once (max_concurrency), and 2 are under way',
    { limit: 2, held: 2 },
    [agent()],
  ],
  ['no agent is online', { limit: 2, held: 2 }, [agent({ status: 'offline' })]],
])('says: %s', (reason, given, agents) => {
  expect(whyItWaits(need(given), { agents, taken, standsStill: false })).toBe(reason)
})

it('says that agents come back after an outage, where any is away', () => {
  const why = (agents: Agent[]) => whyItWaits(need(), { agents, taken, standsStill: true })
  expect(why([agent({ status: 'offline' })])).toBe(
    'no agent is online; the API was away until a moment ago, and agents come back to it',
  )
  expect(why([])).toBe('no agent is enrolled')
})

describe.each(testingDatabases)('a waiting job on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  it('says why, from what its executor, its queue and the fleet are now', async () => {
    const scene = await openScene(db, { max_concurrency: 1 })
    const { agentId } = scene
    const first = await scene.submitOne()
    const why = async (row = first) => (await withWaitingReason(db, row)).waiting_reason
    expect(await why()).toBe('no agent that is online offers localhost')
    await db.query(
      `update agents set report = jsonb_set(report, '{backends}', $1::text::jsonb) where id = $2`,
      [JSON.stringify({ localhost: offers }), agentId],
    )
    expect(await why()).toBe('its agents have slots (0 of 2 are taken), and have not asked for more yet')
    const other = await openScene(db)
    await scene.patch({ max_concurrency: null })
    await db.query(
      `update agents set report = jsonb_set(report, '{slots,run}', '1') where id = any (array[$1::uuid, $2::uuid])`,
      [agentId, other.agentId],
    )
    await scene.claim(1)
    const second = await scene.submitOne()
    expect(await why(second)).toBe('every slot of the agents that could take it is taken (1 of 1)')
    await scene.patch({ max_concurrency: 1 })
    expect(await why(second)).toBe(
      'its executor runs no more than 1 at once (max_concurrency), and 1 are under way',
    )
    await db.query(`update agents set draining = true where id = $1`, [agentId])
    expect(await why(second)).toBe('every agent that could take it is draining')
    await db.query(`update agents set lease_until = now() - interval '1 second'`)
    expect(await why(second)).toBe('no agent is online')
    await db.query(`update control set expiry_stands_until = now() + interval '1 minute'`)
    expect(await why(second)).toMatch(/^no agent is online; the API was away/)
    await db.query('update control set expiry_stands_until = null')
  })

  it('says how many are before it: higher ones, older ones of its key, and that others get their turns', async () => {
    const scene = await openScene(db)
    const place = async (row: ExecutionRow) =>
      (await withWaitingReason(db, row)).waiting_reason!.split('; ').slice(1).join('; ')
    const first = await scene.submitOne()
    expect(await place(first)).toBe('')
    await scene.submitOne({ priority: 1 }, { keyId: newId() })
    expect(await place(first)).toBe('1 job is before it')
    const last = await scene.submitOne()
    expect(await place(last)).toBe('2 jobs are before it')
    const others = await scene.submitOne({}, { keyId: newId() })
    const turns = 'jobs of other keys wait as well, and each key gets its turns'
    expect(await place(last)).toBe(`2 jobs are before it; ${turns}`)
    expect(await place(others)).toBe(`1 job is before it; ${turns}`)
    // In a list nothing is counted.
    expect((await withWaitingReasons(db, [last]))[0]!.waiting_reason).not.toContain('before it')
  })

  it('says of a retry which and when, and of a locked job for which it waits', async () => {
    const scene = await openScene(db)
    await db.query(`update agents set lease_until = now() + interval '1 minute', draining = false`)
    const retried = await scene.submitAndClaim({ retry: { max_attempts: 3 } })
    await scene.finish(
      scene.finishItem(retried, { outcome: 'infra_error', exit_code: null, error: 'no engine' }),
    )
    const row = await scene.read(retried.id)
    expect((await withWaitingReason(db, row)).waiting_reason).toBe(
      `attempt 1 of 3 came to nothing; the next is to come, not before ${row.not_before!.toISOString()}`,
    )
    const lacking = await scene.submitAndClaim({ dependencies: ['six'] })
    const lacks = { need: 'runtime.install' as const, reason: 'six is not installed' }
    const { job } = await lock(db, { ...scene.claimOf(lacking), ...lacks })
    expect((await withWaitingReason(db, job!)).waiting_reason).toBe(
      `six is not installed; it waits for the job ${job!.locked_by}`,
    )
  })

  it('keeps what its agent said of it', async () => {
    const scene = await openScene(db)
    const row = { ...(await scene.submitOne()), waiting_reason: 'disk full' }
    expect(await withWaitingReason(db, row)).toBe(row)
  })
})
