import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { measureProcess } from '../node/process-metrics.ts'
import { Unavailable } from '../store/database.ts'
import { openTestApp, type TestApp } from './test-app.ts'

const root = join(import.meta.dirname, '../../../..')

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

async function scrape(): Promise<string> {
  const answer = await test.request('GET', '/metrics', { key: test.keys.viewer })
  expect(answer.status).toBe(200)
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  return await answer.text()
}

/** Of the first line of a metric. */
function labelsOf(text: string, name: string): string[] {
  const [, labels = ''] = new RegExp(`^${name}\\{(.*)\\}`, 'm').exec(text) ?? []
  return [...labels.matchAll(/(\w+)="/g)].map(([, one]) => one!)
}

/** The value of one line of a scrape. */
function valueOf(text: string, line: string): number | undefined {
  const found = text.split('\n').find((one) => one.startsWith(`${line} `))
  return found === undefined ? undefined : Number(found.slice(line.length + 1))
}

it('are just those that docs/metrics.md tells of, with their types and labels', async () => {
  measureProcess(test.parts.metrics.registry)
  const page = readFileSync(join(root, 'docs/metrics.md'), 'utf8')
  const told = [...page.matchAll(/^\| `(\w+)` +\| (\w+) +\|/gm)].map(([, name, type]) => `${name} ${type}`)
  const text = await scrape()
  const real = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => `${name} ${type}`)
  expect(real.toSorted()).toEqual(told.toSorted())
  for (const [, name, labels] of page.matchAll(/^\| `(\w+)` +\| \w+ +\| ([^|]*)\|/gm)) {
    const metric = test.parts.metrics.registry.getSingleMetric(name!) as { labelNames?: string[] } | undefined
    const names = [...labels!.matchAll(/`(\w+)`/g)].map(([, one]) => one)
    const labelNames = metric?.labelNames ?? labelsOf(text, name!)
    expect({ name, labelNames }).toEqual({ name, labelNames: names })
  }
})

it('count what happens to jobs, and no line names one', async () => {
  const agent = await test.connectAgent(0)
  const before = await scrape()
  const { id } = await test.submit()
  const again = { 'idempotency-key': 'once' }
  const second = await test.submit({}, again)
  await test.submit({}, again)
  expect(valueOf(await scrape(), 'errand_jobs{status="waiting"}')).toBeDefined()
  agent.grant(2)
  await vi.waitFor(() => expect(agent.assigned).toHaveLength(2))
  const stdout = new TextEncoder().encode('0123456789')
  const first = agent.assigned.find((one) => one.id === id)!
  await agent.finish(first, { stdout })
  await expect(agent.finish({ ...first, fence: first.fence - 1 }, { stdout })).rejects.toThrow('stale')
  await expect(agent.finish(first, { stdout })).rejects.toThrow('already')
  const stdoutCut = { bytes: 15, stored: 10, truncated: true }
  const { sha256 } = { sha256: await sha256Of(stdout) }
  const other = agent.assigned.find((one) => one.id === second.id)!
  await agent.finish(other, {
    stdout,
    result: { outcome: 'failed', exit_code: 1, stdout: { ...stdoutCut, sha256 } },
  })

  const after = await scrape()
  const risen = (line: string) => (valueOf(after, line) ?? 0) - (valueOf(before, line) ?? 0)
  const job = (outcome: string) =>
    `errand_jobs_ended_total{type="code.execute",executor_type="localhost",outcome="${outcome}"}`
  const expected: Record<string, number> = {
    'errand_submissions_total{result="waiting"}': 2,
    'errand_submissions_total{result="repeated"}': 1,
    'errand_assignments_total{type="code.execute",executor_type="localhost"}': 2,
    'errand_results_total{verdict="stored"}': 2,
    'errand_results_total{verdict="stale"}': 1,
    'errand_results_total{verdict="already"}': 1,
    [job('succeeded')]: 1,
    [job('failed')]: 1,
    'errand_output_bytes_total{fate="stored"}': 20,
    'errand_output_bytes_total{fate="dropped"}': 5,
    'errand_job_queue_seconds_count{executor_type="localhost"}': 2,
    'errand_job_run_seconds_count{executor_type="localhost"}': 2,
    errand_agents_connected: 0,
  }
  expect(Object.fromEntries(Object.keys(expected).map((line) => [line, risen(line)]))).toEqual(expected)
  for (const secret of [id, agent.agentId, agent.name, 'local_python', test.keys.viewer])
    expect(after).not.toContain(secret)
  agent.leave()
})

it('say that the database is away, and leave out what only it knows', async () => {
  const query = vi.spyOn(test.parts.db, 'query').mockRejectedValue(new Unavailable(new Error('cut')))
  // The authenticator remembers keys for a while, and what was read a moment ago is still good.
  await vi.waitFor(async () => expect(valueOf(await scrape(), 'errand_database_up')).toBe(0), 5_000)
  const text = await scrape()
  expect(text).not.toMatch(/^errand_jobs\{/m)
  expect(valueOf(text, 'errand_agents_connected')).toBe(0)
  query.mockRestore()
  await vi.waitFor(async () => expect(valueOf(await scrape(), 'errand_database_up')).toBe(1), 5_000)
})

async function sha256Of(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', Uint8Array.from(bytes))).toHex()
}
