import { scaleTime } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { apiForTest } from '../system/harness/for-test.ts'
import { until } from '../system/harness/until.ts'
import { largestShare, startFleet } from './fleet.ts'

/** So many that what the API lets in within a second is no large part of them. */
const agents = 500
const jobs = 300
/** At a tenth a handshake had half a second, which many at once do not keep on a busy machine. */
const timeScale = 0.5
const executor = 'local_python_default'

it('NET-09: five hundred agents come back from an API that died spread out, and every job is done once', async () => {
  const api = await apiForTest({ database: 'postgres', timeScale })
  const fleet = await startFleet({ api, agents, slots: 2, timeScale })
  onTestFinished(() => fleet.close())
  expect(await fleet.connected(60_000)).toHaveLength(agents)
  const ids = await Promise.all(
    Array.from({ length: jobs }, (_, n) => api.client.submitSurely({ executor, code: '' }, `key-${n}`)),
  )
  await api.kill()
  await api.start()
  fleet.count()
  const times = await fleet.connected(60_000)
  expect(times).toHaveLength(agents)
  const { reconnectMaxMs } = scaleTime(timeScale)
  // The largest window, and what a connect takes on a busy machine.
  expect(times.at(-1)).toBeLessThan(reconnectMaxMs + 5_000)
  expect(largestShare(times, 1_000 * timeScale)).toBeLessThanOrEqual(0.3)
  await until('every job is done', async () => {
    const { total } = await api.client.executions('?outcome=succeeded&count=true&limit=1')
    return total === jobs
  })
  // An agent may be asked again for what it has done; two never do the same.
  expect(new Set(fleet.assigned.keys())).toEqual(new Set(ids.map(({ id }) => id)))
})
