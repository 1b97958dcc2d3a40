import type { ExecutorType } from '@errand/shared'
import { expect, it } from 'vitest'
import { servedQueues } from './served-queues.ts'

const queue = (id: number, executorType: ExecutorType, labels: Record<string, string> = {}) => ({
  id,
  executorId: 'any',
  executorType,
  labels,
})
const offers = { available: true, isolation: null, missing: [] }
const agent = {
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

it('serves queues whose backend it offers and whose labels it carries, by class of slot', () => {
  const queues = [
    queue(1, 'localhost'),
    queue(2, 'localhost', { gpu: 'yes' }),
    queue(3, 'localhost', { gpu: 'yes', zone: 'b' }),
    queue(4, 'docker'),
    queue(5, 'ssh', { zone: 'a' }),
  ]
  expect(servedQueues(queues, agent, 'run')).toEqual([1, 2])
  expect(servedQueues(queues, agent, 'ssh')).toEqual([5])
  expect(servedQueues(queues, agent, 'maintenance')).toEqual([])
})
