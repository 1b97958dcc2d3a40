import { between, heldFor, oneOf, type Nemesis } from '../nemesis.ts'

/** SIGSTOP for up to twice the lease. */
export const pauseAgent: Nemesis = {
  name: 'pause agent',
  async strike(circle) {
    const { agents, time, random } = circle
    const agent = oneOf(agents, random)
    agent.process.child.kill('SIGSTOP')
    const held = await heldFor(between(0, 2 * time.leaseMs, random), circle, agent)
    agent.process.child.kill('SIGCONT')
    return held
  },
}
