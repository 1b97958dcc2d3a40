import type { ExecutionRecord } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { atOnce } from './harness/at-once.ts'
import { agentForTest, apiForTest, databases } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const count = 100

describe.each(databases)('an API that is killed, on %s', (database) => {
  it('loses and doubles nothing of what its callers submit again', async () => {
    const api = await apiForTest({ database })
    await agentForTest({ api, slots: 4 })
    let ended = 0
    const all = atOnce(8, count, async (n) => {
      const body = { executor: 'local_python_default', code: `print(${n})` }
      const { id } = await api.client.submitSurely(body, `number-${n}`)
      const record = await api.client.final(id)
      ended += 1
      return record
    })
    const kills = async (): Promise<void> => {
      for (const killAt of [20, 60]) {
        await until(`${killAt} have ended`, () => ended >= killAt)
        await api.kill()
        await api.start()
      }
    }
    const [records] = await Promise.all([all, kills()])
    expect(records.map(({ outcome }) => outcome)).toEqual(Array(count).fill('succeeded'))
    expect(records.map(({ stdout }) => stdout)).toEqual(Array.from({ length: count }, (_, n) => `${n}\n`))
    expect(new Set(records.map(({ id }) => id)).size).toBe(count)
    // None was started twice, and none is there that nobody knows of.
    expect(new Set(records.map(({ attempt }) => attempt))).toEqual(new Set([1]))
    expect(await api.client.executions('?count=true&limit=1')).toMatchObject({ total: count })
  })

  it('answers a final record as before', async () => {
    const api = await apiForTest({ database })
    await agentForTest({ api })
    const before: ExecutionRecord = await api.client.run({
      executor: 'local_python_default',
      code: 'import sys; print("out"); print("err", file=sys.stderr); sys.exit(3)',
    })
    await api.kill()
    await api.start()
    expect(before).toMatchObject({ outcome: 'failed', exit_code: 3, stdout: 'out\n', stderr: 'err\n' })
    expect(await api.client.execution(before.id)).toEqual(before)
  })
})
