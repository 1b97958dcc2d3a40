import { setTimeout as sleep } from 'node:timers/promises'
import { between, type Nemesis } from '../nemesis.ts'

/** The second agent's packets vanish for up to twice the lease. */
export const dropPackets: Nemesis = {
  name: 'drop packets',
  async strike({ network, agents, time, random }) {
    await network.drop()
    const held = (await agents[1].record())?.jobs_held ?? 0
    await sleep(between(0, 2 * time.leaseMs, random))
    await network.heal()
    return held
  },
}
