import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startSshServer } from '../../infra/ssh-server.ts'
import { agentForTest, apiForTest } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const counted = 40
/** Notes outside Errand that it was started. */
const code = `
import os, sys, time
with open(os.path.expanduser('~errand/starts'), 'a') as file:
    file.write(sys.argv[1] + '\\n')
for number in range(${counted}):
    print(sys.argv[1], number, flush=True)
    time.sleep(0.1)
`

describe('an agent that is killed while it runs code over ssh', () => {
  it('at whatever point, also while the API is away, has one result of each run, exact, and leaves nothing (CR-15)', async () => {
    const server = await startSshServer()
    onTestFinished(() => server.stop())
    const { host, port, username, privateKey: private_key, hostKey: host_key } = server
    const ssh = { remote: { host, port, username, private_key, host_key, runtime: 'python' } }
    const config = JSON.stringify({ code_executors: { ssh } })
    const api = await apiForTest({ database: 'postgres', config, env: { ERRAND_CONFIG: 'config.yaml' } })
    const agent = await agentForTest({ api })
    await agent.stop()

    // Each agent goes on with what those before it had, and dies with the next.
    const ids: Record<string, string> = {}
    for (const point of Object.keys(expected)) {
      const { id } = await api.client.submit({ executor: 'remote', code, args: [point] })
      ids[point] = id
      agent.launch({ ERRAND_CRASH_AT: `${point}/${id}` })
      expect(await agent.process.ended()).toBe('SIGKILL')
    }
    // The last one finds nobody to ask how to get in, for a while: what runs goes on, and what it says waits.
    await api.kill()
    agent.launch()
    await until('it has looked for the API', () => agent.process.log.includes('trying again'))
    await api.start()

    const ends: Record<string, unknown> = {}
    for (const [point, id] of Object.entries(ids)) {
      const { outcome, attempt, stdout, start_time_ms, end_time_ms, duration_sec } =
        await api.client.final(id)
      ends[point] = outcome
      if (outcome !== 'succeeded') continue
      expect(attempt).toBe(1)
      expect(stdout).toBe(Array.from({ length: counted }, (_, number) => `${point} ${number}\n`).join(''))
      // As the target has measured it, not for as long as agents were away.
      expect(duration_sec).toBeGreaterThanOrEqual(counted * 0.1)
      expect(end_time_ms! - start_time_ms!).toBeCloseTo(duration_sec! * 1_000, -1)
    }
    expect(ends).toEqual(expected)
    const starts = readFileSync(join(server.home, 'starts'), 'utf8').trim().split('\n')
    const started = Object.keys(expected).filter((point) => expected[point] === 'succeeded')
    expect(starts.sort()).toEqual(started.sort())
    // What it could not remove any more goes at its next connect.
    await api.client.run({ executor: 'remote', code, args: ['last'] })
    const runs = join(server.home, '.errand/runs')
    await until('nothing is left', () => !existsSync(runs) || readdirSync(runs).length === 0)
  })
})

/** Where it dies, and how the run ends that it dies with. */
const expected: Record<string, 'succeeded' | 'lost'> = {
  // Whether it was begun after that nobody knows, and the target tells of none.
  starting: 'lost',
  started: 'succeeded',
  mid_output: 'succeeded',
  exited: 'succeeded',
  spooled_result: 'succeeded',
}
