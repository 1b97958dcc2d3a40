import { setTimeout as sleep } from 'node:timers/promises'
import { between, type Nemesis } from '../nemesis.ts'

/** Every packet of the second agent is answered with a reset, for less than a lease. */
export const resetConnections: Nemesis = {
  name: 'reset connections',
  async strike({ network, time, random }) {
    await network.reset()
    await sleep(between(0, time.pingEveryMs, random))
    await network.heal()
    return 0
  },
}
