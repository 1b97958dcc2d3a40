import { setTimeout as sleep } from 'node:timers/promises'
import { hotStatements } from '../database-proxy.ts'
import { oneOf, type Nemesis } from '../nemesis.ts'

/** The database does what it was asked, and its answer does not arrive. */
export const loseAnswer: Nemesis = {
  name: 'lose answer',
  async strike({ proxy, time, random }) {
    const lost = proxy.loseAnswerTo(oneOf([hotStatements.submit, hotStatements.finish], random))
    // Nobody may be asking any more.
    await Promise.race([lost, sleep(time.leaseMs)])
    return 0
  },
}
