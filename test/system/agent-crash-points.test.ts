import { describe, expect, it } from 'vitest'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { testImages } from '../../infra/test-images.ts'
import { containersOf } from './harness/containers-of.ts'
import { countThroughKills } from './harness/count-through-kills.ts'
import { sharedCircle } from './harness/for-test.ts'
import { until } from './harness/until.ts'

const config = JSON.stringify({
  code_executors: { docker: { container: { image: testImages.python } } },
})

/** At once more than one piece of output, then some while the agent is away, and an end without a line's. */
const program = `
import sys, time
for n in range(9000): print("line", n)
for n in range(40):
    print(n, flush=True); print("x", n, file=sys.stderr, flush=True); time.sleep(0.05)
print("end", end="")
sys.exit(3)`
const stdout = `${numbered(9_000, 'line ')}${numbered(40)}end`
const stderr = numbered(40, 'x ')

function numbered(count: number, before = ''): string {
  return Array.from({ length: count }, (_, n) => `${before}${n}\n`).join('')
}

describe('an agent that is killed while it runs a container', () => {
  let socketPath: string
  const circle = sharedCircle({
    database: 'postgres',
    config,
    slots: 1,
    policy: { backends: ['docker'] },
    async env() {
      socketPath = await testDockerEngine()
      return { DOCKER_HOST: `unix://${socketPath}` }
    },
  })
  const containers = (id: string): string[] => containersOf(socketPath, id)

  // One execution goes through the deaths of a row: each time the next agent is to die at the next point.
  it.each([
    ['begins once', ['recv_claim', 'accepted', 'acked_result']],
    ['begins once', ['created', 'starting', 'removed']],
    [
      'goes on in the same container',
      ['first_chunk', 'started', 'mid_output', 'exited', 'removing', 'spooled_result', 'sent_result'],
    ],
  ])('CR-01 to CR-12: the program %s, whole, through the deaths at %s', async (what, points) => {
    const { api, agent } = circle
    await agent.stop()
    agent.launch({ ERRAND_CRASH_AT: points[0] })
    const { id } = await api.client.submit({ executor: 'container', code: program })
    const seen = new Set<string>()
    for (const next of [...points.slice(1), '']) {
      expect(await agent.process.ended()).toBe('SIGKILL')
      for (const container of containers(id)) seen.add(container)
      agent.launch({ ERRAND_CRASH_AT: next })
    }
    const record = await api.client.final(id)
    expect(record).toMatchObject({ outcome: 'failed', exit_code: 3, attempt: 1, error: null })
    expect((await api.client.output(id, 'stdout')).equals(Buffer.from(stdout))).toBe(true)
    expect((await api.client.output(id, 'stderr')).toString()).toBe(stderr)
    expect(record.duration_sec).toBeGreaterThan(40 * 0.05)
    expect(record.usage?.cpu_time_sec).toBeGreaterThan(0)
    const isSame = seen.size === 1 && seen.has(record.container_id!)
    expect(isSame || what === 'begins once').toBe(true)
    await until('its container is gone', () => containers(id).length === 0)
    const { stdout: after } = await api.client.run({ executor: 'container', code: 'print("next")' })
    expect(after).toBe('next\n')
  })

  it('CR-21: counts on in the same container, however often its agent is killed', async () => {
    const { api, agent } = circle
    const counting = countThroughKills({
      client: api.client,
      agent,
      executor: 'container',
      kills: 6,
      seconds: 12,
      pauseMs: () => 1_500,
      containersOf: containers,
    })
    const { record, containers: seen, kills, isWhole } = await counting
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1, error: null })
    expect([isWhole, kills, seen]).toEqual([true, 6, [record.container_id]])
    await until('its container is gone', () => containers(record.id).length === 0)
  })
})
