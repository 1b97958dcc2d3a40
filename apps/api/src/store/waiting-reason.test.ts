import type { Agent, BackendReport, ExecutorType } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene } from './testing-scene.ts'
import { whyItWaits, withWaitingReason, type Need } from './waiting-reason.ts'

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
  ['every slot of the agents that could take it is taken', { labels: gpu }, [agent({ labels: gpu })]],
  ['every slot of the agents that could take it is taken', { limit: 3, held: 2 }, [agent()]],
  [
    'its executor runs no more than 2 at once (max_concurrency), and 2 are under way',
    { limit: 2, held: 2 },
    [agent()],
  ],
  ['no agent is online', { limit: 2, held: 2 }, [agent({ status: 'offline' })]],
])('says: %s', (reason, given, agents) => {
  expect(whyItWaits(need(given), agents)).toBe(reason)
})

describe.each(testingDatabases)('a waiting job on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  it('says why, from what its executor, its queue and the fleet are now', async () => {
    const scene = await openScene(db, { max_concurrency: 1 })
    await scene.submitOne()
    const waits = async () => (await withWaitingReason(db, await scene.submitOne())).waiting_reason
    expect(await waits()).toBe('no agent that is online offers localhost')
    await db.query(`update agents set report = jsonb_set(report, '{backends}', $1::text::jsonb)`, [
      JSON.stringify({ localhost: offers }),
    ])
    expect(await waits()).toBe('every slot of the agents that could take it is taken')
    await scene.claim(1)
    expect(await waits()).toContain('max_concurrency')
  })

  it('keeps what its agent said of it', async () => {
    const scene = await openScene(db)
    const row = { ...(await scene.submitOne()), waiting_reason: 'disk full' }
    expect(await withWaitingReason(db, row)).toBe(row)
  })
})
