import { between, heldFor, type Nemesis } from '../nemesis.ts'

/** The second agent's packets vanish for up to twice the lease. */
export const dropPackets: Nemesis = {
  name: 'drop packets',
  async strike(circle) {
    const { network, agents, time, random } = circle
    await network.drop()
    const held = await heldFor(between(0, 2 * time.leaseMs, random), circle, agents[1])
    await network.heal()
    return held
  },
}
