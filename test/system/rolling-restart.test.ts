import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isFinal, type ExecutionRecord } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { atOnce } from './harness/at-once.ts'
import { followEvents } from './harness/event-reader.ts'
import { agentForTest, replicasForTest } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const executor = 'local_python_default'
const restarts = 3

it('replicas that are restarted one after the other answer with nothing but success and 503, and no execution is lost or doubled (CR-34)', async () => {
  const timeScale = 0.2
  const { apis, balanced } = await replicasForTest(2, { timeScale })
  for (let n = 0; n < 2; n++) await agentForTest({ api: balanced, slots: 4, fake: true, timeScale })
  const dir = mkdtempSync(join(tmpdir(), 'errand-marks-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const mark = join(dir, 'starts')

  const over = new AbortController()
  const statuses = new Map<number, number>()
  const answers: ExecutionRecord[] = []
  /** As a careful caller does it, who is told of every answer. */
  async function ask(method: string, path: string, body?: object, headers = {}): Promise<ExecutionRecord> {
    for (;;) {
      const response = await balanced.client.request(method, path, body, headers)
      const text = await response.text()
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
      if (response.ok) return JSON.parse(text) as ExecutionRecord
      expect({ status: response.status, text }).toMatchObject({ status: 503 })
      const seconds = Number(response.headers.get('retry-after'))
      expect(seconds).toBeGreaterThan(0)
      await sleep(seconds * 1_000)
    }
  }
  const submitting = atOnce(6, 6, async (client) => {
    for (let n = 0; !over.signal.aborted; n++) {
      // Some are under way whenever a replica goes.
      const steps = [{ mark }, { stdout: 'x' }, { sleep_ms: n % 5 === 0 ? 300 : 5 }, { stdout: 'y' }]
      const code = JSON.stringify({ steps })
      const headers = { 'idempotency-key': `${client}-${n}`, prefer: 'wait=20' }
      answers.push(await ask('POST', '/executions', { executor, code }, headers))
    }
  })

  const long = Array.from({ length: 300 }, (_, n) => [{ stdout: `${n}\n` }, { sleep_ms: 50 }]).flat()
  const { id } = await ask('POST', '/executions', {
    executor,
    code: JSON.stringify({ steps: [{ mark }, ...long] }),
  })
  const following = (async () => {
    const output: Buffer[] = []
    let last = ''
    for await (const event of followEvents(balanced.client, id)) {
      if (event.name === 'output') output.push(Buffer.from(event.data.base64, 'base64'))
      last = event.name
    }
    return { last, text: Buffer.concat(output).toString() }
  })()

  for (let n = 0; n < restarts; n++) {
    const one = apis[n % 2]!
    const before = answers.length
    const asked = performance.now()
    expect(await one.stop()).toBe(0)
    // Nothing had to be cut: that would have come after 20 s.
    expect(performance.now() - asked).toBeLessThan(15_000)
    expect(one.log).not.toMatch(/a request failed|agent session failed/)
    await until('the others go on meanwhile', () => answers.length > before + 10)
    await one.start()
    // The next must not go before this one is back.
    // The next must not go before this one has its share again.
    await until('it is served by that one', async () => {
      const { headers } = await fetch(`${balanced.url}/readyz`)
      return headers.get('served-by') === `at-${one.port}`
    })
  }
  over.abort()
  await submitting

  expect([...statuses.keys()].filter((status) => ![200, 202, 503].includes(status))).toEqual([])
  const records = await Promise.all(
    answers.map(async (one) => (isFinal(one.status) ? one : balanced.client.final(one.id))),
  )
  for (const record of records)
    expect(record).toMatchObject({ outcome: 'succeeded', stdout: 'xy', attempt: 1 })
  const { last, text } = await following
  expect({ last, text }).toEqual({
    last: 'end',
    text: Array.from({ length: 300 }, (_, n) => `${n}\n`).join(''),
  })
  const starts = readFileSync(mark, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0])
  expect(starts.length).toBe(new Set(starts).size)
  expect(new Set(starts)).toEqual(new Set([...answers.map((one) => one.id), id]))
})
