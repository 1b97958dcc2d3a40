import { globSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'

const timeScale = 0.2
const seconds = 2

it('DI-08: an agent whose clock is wrong or jumps keeps its lease, and tells times and durations as they are', async () => {
  const [faketime] = globSync('/usr/lib/*/faketime/libfaketime.so.1')
  expect(faketime, 'faketime is installed by infra/setup.sh').toBeDefined()
  const api = await apiForTest({ database: 'postgres', timeScale })
  const clock = join(api.dir, 'clock')
  const setClock = (offset: string) => writeFileSync(clock, `${offset}\n`)
  setClock('+1h')
  // Only the clock on the wall: the monotonic one cannot be set on a real machine either.
  const agent = await agentForTest({
    api,
    timeScale,
    env: {
      LD_PRELOAD: faketime,
      FAKETIME_TIMESTAMP_FILE: clock,
      FAKETIME_NO_CACHE: '1',
      DONT_FAKE_MONOTONIC: '1',
    },
  })
  const { epoch } = (await agent.record())!
  // It signs and is believed, whatever day it takes this for.
  const jumps = [
    ['+1h', '+1h'],
    ['-1h', '-1h'],
    ['+0', '-10m'],
  ] as const
  for (const [before, during] of jumps) {
    setClock(before)
    const submittedAt = Date.now()
    const { id } = await api.client.submit({
      executor: 'local_python_default',
      code: `import time; time.sleep(${seconds})`,
    })
    await api.client.status(id, 'running')
    setClock(during)
    const record = await api.client.final(id)
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1 })
    const { start_time_ms: start, end_time_ms: end, duration_sec: duration } = record
    // Its start costs something on a busy machine; a jump would cost minutes.
    expect(duration).toBeGreaterThanOrEqual(seconds)
    expect(duration).toBeLessThan(seconds + 10)
    expect(start).toBeGreaterThanOrEqual(submittedAt - 1)
    expect(end! - start!).toBeGreaterThanOrEqual(seconds * 1_000 - 1)
    expect(end).toBeLessThanOrEqual(Date.now())
  }
  expect(agent.log).toContain(new Date(Date.now() + 3_600_000).toISOString().slice(0, 13).replace('T', ' '))
  expect(await agent.record()).toMatchObject({ epoch, status: 'online' })
})
