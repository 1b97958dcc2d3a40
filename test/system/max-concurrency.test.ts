import type { ExecutionRecord } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { agentForTest, databases, sharedCircle } from './harness/for-test.ts'

const config = JSON.stringify({ code_executors: { local: { two: { max_concurrency: 2 }, any: {} } } })

describe.each(databases)('max_concurrency, on %s', (database) => {
  const circle = sharedCircle({ database, config, slots: 3 })

  it('is kept over all agents, and holds up nobody else', async () => {
    const { client } = circle.api
    await agentForTest({ api: circle.api, slots: 3 })
    // By the one clock that all processes of this host share
    const code = 'import time; begin = time.monotonic(); time.sleep(0.3); print(begin, time.monotonic())'
    const submitted = await Promise.all(
      Array.from({ length: 10 }, () => client.submit({ executor: 'two', code })),
    )
    expect(await client.run({ executor: 'any', code: 'print(1)' })).toMatchObject({ outcome: 'succeeded' })
    const records = await Promise.all(submitted.map(({ id }) => client.final(id)))
    expect(new Set(records.map(({ outcome }) => outcome))).toEqual(new Set(['succeeded']))
    expect(mostAtOnce(records)).toBe(2)
  })
})

function mostAtOnce(records: readonly ExecutionRecord[]): number {
  const spans = records.map(({ stdout }) => stdout.split(' ').map(Number) as [number, number])
  const underWay = (at: number) => spans.filter(([begin, end]) => begin <= at && at < end).length
  return Math.max(...spans.map(([begin]) => underWay(begin)))
}
