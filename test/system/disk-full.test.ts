import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const timeScale = 0.2

/** Becomes the agent, with a disk of 8 MiB for its directory. */
const withLittleRoom = (agentDir: string) => [
  'unshare',
  ...(process.getuid?.() === 0 ? [] : ['--map-current-user', '--keep-caps']),
  '--mount',
  'sh',
  '-c',
  `mount -t tmpfs -o size=8m,mode=700 tmpfs '${agentDir}' && exec "$0" "$@"`,
]

const flood = `
import sys, time
block = b'x' * 1024
for _ in range(9 * 1024):
    sys.stdout.buffer.write(block)
sys.stdout.flush()
time.sleep(8)
`
const quiet = 'import time; print("begin", flush=True); time.sleep(3); print("end")'

it('an agent whose disk fills up takes no more jobs and says so, and delivers what it has (CR-32)', async () => {
  const executors = { local: { roomy: { output_limit_kb: 16 * 1024 } } }
  const config = JSON.stringify({ code_executors: executors })
  const api = await apiForTest({ database: 'postgres', config, timeScale })
  const dir = mkdtempSync(join(tmpdir(), 'errand-full-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const agentDir = join(dir, 'small')
  mkdirSync(agentDir)
  const agent = await agentForTest({
    api,
    dir,
    timeScale,
    env: { ERRAND_AGENT_DIR: agentDir },
    within: withLittleRoom(agentDir),
  })
  const submit = (code: string) => api.client.submit({ executor: 'roomy', code })
  const beside = await submit(quiet)
  const flooding = await submit(flood)

  const isAvailable = async () => (await agent.record())?.report?.backends.localhost?.available
  await until('it says that it takes no more', async () => (await isAvailable()) === false)
  const { missing } = (await agent.record())!.report!.backends.localhost!
  expect(missing[0]).toBe(`the disk of ${agentDir} is full: no more jobs are taken until there is room`)
  const waiting = await submit('print("later")')
  expect((await api.client.execution(waiting.id)).waiting_reason).toContain(missing[0])

  expect(await api.client.final(beside.id)).toMatchObject({ outcome: 'succeeded' })
  const record = await api.client.final(flooding.id)
  expect(record).toMatchObject({
    outcome: 'succeeded',
    stdout_bytes: 9 * 1024 * 1024,
    stdout_truncated: true,
    error: expect.stringContaining('disk was full') as string,
  })
  const stored = await api.client.output(flooding.id, 'stdout')
  expect(stored.length).toBeGreaterThan(1024 * 1024)
  expect(stored.equals(Buffer.alloc(stored.length, 'x'))).toBe(true)

  expect(await api.client.final(waiting.id)).toMatchObject({ outcome: 'succeeded', stdout: 'later\n' })
  await until('it says that it takes jobs again', isAvailable)
})
