import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../system/harness/until.ts'
import { between, type Nemesis } from '../nemesis.ts'

/** SIGKILL to the postmaster, which ends every process of it. */
export const killPostgres: Nemesis = {
  name: 'kill PostgreSQL',
  async strike({ postgres, api, time, random }) {
    await postgres.kill()
    await sleep(between(0, time.leaseMs, random))
    await postgres.start()
    await until('the API has its database back', async () => (await api.client.request('GET', '/readyz')).ok)
    return 0
  },
}
