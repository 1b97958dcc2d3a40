import type { Agent } from '@errand/shared'
import { expect, it } from 'vitest'
import { whyItWaits } from './waiting-reason.ts'

const agent = (given: Partial<Agent> = {}): Agent => ({
  agent_id: crypto.randomUUID(),
  name: 'a',
  labels: {},
  status: 'online',
  epoch: 1,
  last_seen_at: null,
  created_at: new Date().toISOString(),
  jobs_held: 0,
  report: {
    hostname: 'h',
    version: '1',
    platform: 'linux',
    backends: { localhost: { available: true, isolation: null, missing: [] } },
    runtimes: {},
    slots: { run: 1, ssh: 0, maintenance: 0 },
  },
  ...given,
})

it.each<[string, Agent[]]>([
  ['no agent is enrolled', []],
  ['no agent is online', [agent({ status: 'offline' })]],
  ['no agent that is online offers localhost', [agent({ report: null }), agent({ status: 'offline' })]],
  ['no agent that is online and offers localhost has the labels gpu=yes', [agent()]],
  [
    'every agent that could take it is draining',
    [agent({ labels: { gpu: 'yes' }, status: 'draining' }), agent()],
  ],
  ['every slot of the agents that could take it is taken', [agent({ labels: { gpu: 'yes' } })]],
])('says: %s', (reason, agents) => {
  expect(whyItWaits('localhost', { gpu: 'yes' }, agents)).toBe(reason)
})
