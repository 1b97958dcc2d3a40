import { setTimeout as sleep } from 'node:timers/promises'
import { between, oneOf, type Nemesis } from '../nemesis.ts'

/** SIGSTOP for up to twice the lease. */
export const pauseAgent: Nemesis = {
  name: 'pause agent',
  async strike({ agents, time, random }) {
    const agent = oneOf(agents, random)
    agent.process.child.kill('SIGSTOP')
    const held = (await agent.record())?.jobs_held ?? 0
    await sleep(between(0, 2 * time.leaseMs, random))
    agent.process.child.kill('SIGCONT')
    return held
  },
}
