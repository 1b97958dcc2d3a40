import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Job, JobSummary, Page } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const page = readFileSync(resolve(import.meta.dirname, '../../docs/jobs.md'), 'utf8')
/** Every shell block with a curl line, as it is printed. */
const script = [...page.matchAll(/^```sh\n(.*?)^```$/gms)]
  .map(([, block]) => block!)
  .filter((block) => block.includes('curl'))
  .join('\n')
const expected = [...script.matchAll(/^# (\d{3})$/gm)].map(([, status]) => status)

/**
 * Says each answer's status, follows a stream no longer than it must, and remembers the job that was made, which a
 * reader does by eye.
 */
const prelude = `
curl() {
  command curl --silent --show-error --max-time 20 --output "$DIR/body" --write-out '%{http_code}\\n' "$@" || exit
  local id; id=$(sed -n 's/^{"id":"\\([^"]*\\)","type":.*/\\1/p' "$DIR/body")
  JOB=\${id:-$JOB}
}
`

it('docs/jobs.md has lines that work as they are printed', async () => {
  const api = await apiForTest({ database: 'pglite' })
  await agentForTest({ api, fake: true, slots: 2 })
  const dir = mkdtempSync(join(tmpdir(), 'errand-jobs-doc-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const env = { PATH: process.env['PATH'], ERRAND_URL: api.url, KEY: api.adminKey, DIR: dir }
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', prelude + script], { env, cwd: dir })
  expect({ stderr, statuses: stdout.trim().split('\n') }).toEqual({ stderr: '', statuses: expected })
  expect(script.match(/^curl /gm)).toHaveLength(expected.length)
  expect(expected.length).toBeGreaterThan(8)

  // And they did what they say
  const { data } = await api.client.get<Page<JobSummary>>('/jobs?type=docker_image.download')
  expect(data).toMatchObject([{ code_executor: 'docker_python_default', status: 'canceled' }])
  const asked = async () =>
    (await api.client.get<Page<Job>>('/jobs?type=runtime.install&status=completed')).data
  // The part of the agent, and the job above it
  await until('it is installed', async () => (await asked()).length === 2)
  const executions = await api.client.executions('?executor=science')
  expect(executions.data).toHaveLength(1)
})
