import { setTimeout as sleep } from 'node:timers/promises'
import type { TimeConstants } from '@errand/shared'
import type { NetworkNamespace } from '../../infra/network-namespace.ts'
import type { Postgres } from '../../infra/postgres.ts'
import type { TestAgent } from '../system/harness/agent.ts'
import type { Api } from '../system/harness/api.ts'
import type { Link } from '../system/harness/link.ts'
import type { DatabaseProxy } from './database-proxy.ts'

/** What faults are done to: an API, its database behind a proxy, and two agents, each on a way of its own. */
export interface Circle {
  postgres: Postgres
  proxy: DatabaseProxy
  api: Api
  /** Between the first agent and the API. */
  link: Link
  /** The network of the second agent. */
  network: NetworkNamespace
  agents: readonly [TestAgent, TestAgent]
  time: TimeConstants
  /** From 0 on, below 1. */
  random: () => number
}

/** One kind of fault. */
export interface Nemesis {
  name: string
  /**
   * Does harm and heals it again, all before it settles.
   *
   * @returns how many jobs the harm may have cost: those that an agent held when it died or lost its lease
   */
  strike(circle: Circle): Promise<number>
}

/** Waits for so long, and returns how many jobs the API has or had given to an agent meanwhile. */
export async function heldFor(ms: number, { api }: Circle, agent: TestAgent): Promise<number> {
  const held = new Set<string>()
  const over = performance.now() + ms
  do {
    const query = `?agent_id=${agent.id}&status=assigned,running,canceling&limit=200`
    for (const { id } of (await api.client.executions(query)).data) held.add(id)
    await sleep(50)
  } while (performance.now() < over)
  return held.size
}

export function oneOf<T>(choices: readonly T[], random: () => number): T {
  return choices[Math.floor(random() * choices.length)]!
}

/** From `from` on, below `to`. */
export function between(from: number, to: number, random: () => number): number {
  return from + random() * (to - from)
}
