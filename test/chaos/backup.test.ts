import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isFinal, type ExecutionSummary } from '@errand/shared'
import { expect, inject, it, onTestFinished } from 'vitest'
import { createDatabase, dropDatabase } from '../../infra/create-database.ts'
import { postgresBin } from '../../infra/postgres-bin.ts'
import { runTool } from '../../infra/run-tool.ts'
import { atOnce } from '../system/harness/at-once.ts'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { until } from '../system/harness/until.ts'

const count = 60
/** Some output in pieces of its own, some in the final message, some of none. */
const code = (n: number) => `
import sys, time
print('x' * ${n * 50}, flush=True)
time.sleep(${n % 3 === 0 ? 0.2 : 0})
sys.stderr.write('y' * ${n})
`

it('DI-15: a backup that is taken under load is consistent: what is final in it has all of its output', async () => {
  const database = await newDatabase()
  const api = await apiForTest({ database: { url: database } })
  await agentForTest({ api, slots: 2 })
  let ended = 0
  const load = atOnce(8, count, async (n) => {
    const { id } = await api.client.submit({ executor: 'local_python_default', code: code(n) })
    await api.client.final(id)
    ended += 1
  })
  await until('a third has ended', () => ended >= count / 3)
  const copy = await newDatabase()
  const dump = join(api.dir, 'dump.sql')
  await runTool(join(postgresBin(), 'pg_dump'), ['--no-owner', '-f', dump, database])
  await load
  await runTool(join(postgresBin(), 'psql'), ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', dump, copy])

  // Secrets at rest are read with the same key ring.
  const dir = mkdtempSync(join(tmpdir(), 'errand-restored-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  for (const secret of ['secret-key', 'admin-key']) cpSync(join(api.dir, secret), join(dir, secret))
  const restored = await apiForTest({ database: { url: copy }, dir })
  const all: ExecutionSummary[] = (await restored.client.executions('?limit=200')).data
  const final = all.filter(({ status }) => isFinal(status))
  expect(final.length).toBeGreaterThanOrEqual(count / 3)
  expect(final.length).toBeLessThan(count)
  for (const one of final) {
    const now = await api.client.execution(one.id)
    const then = await restored.client.execution(one.id)
    expect(then).toEqual(now)
    for (const stream of ['stdout', 'stderr'] as const)
      expect((await restored.client.output(one.id, stream)).length).toBe(then[`${stream}_bytes`])
  }
})

async function newDatabase(): Promise<string> {
  const url = await createDatabase(inject('databaseUrl'))
  onTestFinished(() => dropDatabase(url))
  return url
}
