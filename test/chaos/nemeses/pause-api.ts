import { setTimeout as sleep } from 'node:timers/promises'
import { between, type Nemesis } from '../nemesis.ts'

/** SIGSTOP for up to twice the lease, in which nobody can renew: that costs no job. */
export const pauseApi: Nemesis = {
  name: 'pause API',
  async strike({ api, time, random }) {
    api.process.child.kill('SIGSTOP')
    await sleep(between(0, 2 * time.leaseMs, random))
    api.process.child.kill('SIGCONT')
    return 0
  },
}
