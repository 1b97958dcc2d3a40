import { slotClass, type Slots } from '@errand/shared'
import { Gauge, Registry } from 'prom-client'
import { oldestWait, slotsOf, type Load } from '../store/read-load.ts'
import type { Metrics } from './metrics.ts'

/** What this replica holds at the moment. */
export interface Here {
  agents: number
  granted: Slots
  followers: number
}

/** The text for a scrape. Without a `load` the database did not answer, and its figures are left out. */
export async function renderMetrics(metrics: Metrics, here: Here, load: Load | undefined): Promise<string> {
  return `${await metrics.registry.metrics()}\n${await registryOf(here, load).metrics()}`
}

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE

function registryOf(here: Here, load: Load | undefined): Registry {
  const registry = new Registry()
  gauge('errand_agents_connected', 'Agents with a live session on this replica.', here.agents)
  gauge('errand_followers', 'Requests here that wait for a job or follow its events.', here.followers)
  const granted = gauge(
    'errand_slots_granted',
    'Free slots that agents here have offered and nothing has taken.',
    ['class'],
  )
  for (const one of slotClass.options) granted.set({ class: one }, here.granted[one])
  gauge('errand_database_up', 'Whether the database answered this scrape.', load === undefined ? 0 : 1)
  if (load === undefined) return registry

  const jobs = gauge('errand_jobs', 'Jobs that are not final, over all replicas.', ['status'])
  for (const one of liveStatuses) jobs.set({ status: one }, 0)
  for (const { status, count } of load.jobs) jobs.inc({ status }, count)
  gauge(
    'errand_queue_oldest_wait_seconds',
    'How long the oldest waiting job has waited.',
    oldestWait(load, load.jobs) ?? 0,
  )
  const agents = gauge('errand_agents', 'Enrolled agents, over all replicas.', ['status'])
  for (const one of ['online', 'draining', 'offline']) agents.set({ status: one }, 0)
  for (const { status } of load.agents) agents.inc({ status })
  const slots = gauge('errand_slots', 'Slots of the agents that are online, over all replicas.', ['class'])
  const taken = gauge('errand_slots_taken', 'Slots in which a job is.', ['class'])
  for (const one of slotClass.options) {
    slots.set({ class: one }, slotsOf(load, one).total)
    taken.set({ class: one }, slotsOf(load, one).taken)
  }
  return registry

  function gauge(name: string, help: string, given: number | string[]): Gauge {
    const made = new Gauge({
      name,
      help,
      labelNames: Array.isArray(given) ? given : [],
      registers: [registry],
    })
    if (typeof given === 'number') made.set(given)
    return made
  }
}

const liveStatuses = ['waiting', 'locked', 'retrying', 'assigned', 'running', 'canceling'] as const
