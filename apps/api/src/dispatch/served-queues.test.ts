import type { ExecutorType, SlotClass } from '@errand/shared'
import { expect, it } from 'vitest'
import { servedQueues } from './served-queues.ts'

const queue = (
  id: number,
  executorType: ExecutorType,
  labels: Record<string, string> = {},
  enabled = true,
) => ({
  id,
  executorId: 'any',
  executorType,
  agentId: null,
  labels,
  enabled,
  limited: false,
  waitingKeys: [],
})
const offers = { available: true, isolation: null, missing: [] }
const agent = {
  agentId: 'this one',
  labels: { gpu: 'yes', zone: 'a' },
  report: {
    hostname: 'h',
    version: '1',
    platform: 'linux',
    backends: { localhost: offers, ssh: offers, docker: { ...offers, available: false } },
    runtimes: {},
    slots: { run: 1, ssh: 1, maintenance: 0 },
  },
}

it('serves queues of enabled executors whose backend it offers and whose labels it carries, by class of slot, and its own for maintenance', () => {
  const queues = [
    queue(1, 'localhost'),
    queue(2, 'localhost', { gpu: 'yes' }),
    queue(3, 'localhost', { gpu: 'yes', zone: 'b' }),
    queue(4, 'docker'),
    queue(5, 'ssh', { zone: 'a' }),
    queue(6, 'localhost', {}, false),
    { ...queue(7, 'localhost'), executorType: null, agentId: 'this one' },
    { ...queue(8, 'localhost'), executorType: null, agentId: 'another' },
  ]
  const served = (slot: SlotClass) => servedQueues(queues, agent, slot).map(({ id }) => id)
  expect(served('run')).toEqual([1, 2])
  expect(served('ssh')).toEqual([5])
  expect(served('maintenance')).toEqual([7])
})
