import { setTimeout as sleep } from 'node:timers/promises'
import { enrolled, scaleTime } from '@errand/shared'
import type { Api } from '../system/harness/api.ts'
import { atOnce } from '../system/harness/at-once.ts'
import { newAgentKey, SimulatedAgent } from './simulated-agent.ts'

/** Agents that all belong to one API, and what is seen of them. */
export interface Fleet {
  /** How long each took to connect since `count`, shortest first; of those that did within this time. Milliseconds. */
  connected(withinMs: number): Promise<number[]>
  /** From now on connects are counted anew. */
  count(): void
  /** How often each job was assigned. */
  readonly assigned: ReadonlyMap<string, number>
  close(): void
}

/** Enrols agents as any are, with a token each, and starts them; `slots` jobs at once for each. */
export async function startFleet(given: {
  api: Api
  agents: number
  slots: number
  timeScale: number
}): Promise<Fleet> {
  const { api, slots } = given
  const time = scaleTime(given.timeScale)
  const assigned = new Map<string, number>()
  let countedFrom = performance.now()
  let connects = new Map<number, number>()
  const simulation = {
    url: api.url,
    time,
    slots,
    assigned: (id: string) => void assigned.set(id, (assigned.get(id) ?? 0) + 1),
  }
  const fleet = await atOnce(16, given.agents, async (n) => {
    const key = newAgentKey()
    const name = `simulated-${n}`
    const { token } = await api.client.post<{ token: string }>('/enrollment-tokens', { name })
    const identity = await api.client.post('/agents/enroll', { token, name, public_key: key.publicKey })
    const connected = () => connects.has(n) || connects.set(n, performance.now() - countedFrom)
    return new SimulatedAgent({ ...simulation, connected }, enrolled.parse(identity), key)
  })
  let failure: unknown
  countedFrom = performance.now()
  for (const agent of fleet) agent.run().catch((error: unknown) => (failure = error))
  return {
    assigned,
    count() {
      countedFrom = performance.now()
      connects = new Map()
    },
    async connected(withinMs) {
      const deadline = performance.now() + withinMs
      while (connects.size < given.agents && performance.now() < deadline) {
        if (failure) throw failure
        await sleep(20)
      }
      return [...connects.values()].toSorted((a, b) => a - b)
    },
    close() {
      for (const agent of fleet) agent.close()
    },
  }
}

/** The largest part of all that falls into one bucket of so many milliseconds. */
export function largestShare(times: readonly number[], bucketMs: number): number {
  const counts = Map.groupBy(times, (ms) => Math.floor(ms / bucketMs))
  return Math.max(...[...counts.values()].map((all) => all.length)) / times.length
}
