import { randomUUID } from 'node:crypto'
import type { ExecutorCheck } from '@errand/shared'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { madeTestImages, testImages } from '../../infra/test-images.ts'
import { containersOf } from './harness/containers-of.ts'
import { agentForTest, apiForTest, databases, sharedCircle } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { until } from './harness/until.ts'

const config = JSON.stringify({
  code_executors: {
    docker: {
      container: { image: testImages.python },
      missing: { image: 'example.org/nowhere:1', pull_policy: 'never' },
      small: { image: testImages.python, mem_limit_mb: 64 },
    },
    local: { host: {} },
  },
})
const long = 'import time; print("ready", flush=True); time.sleep(600)'

describe.each(databases)('an execution in a container, on %s', (database) => {
  describe('on an Engine that works', () => {
    let socketPath: string
    const circle = sharedCircle({
      database,
      config,
      slots: 1,
      async env() {
        socketPath = await testDockerEngine()
        return { DOCKER_HOST: `unix://${socketPath}` }
      },
    })

    it('says all of it in its record', async () => {
      const { agent } = circle
      const { client } = circle.api
      const code = 'import sys; print(sys.stdin.read() + sys.argv[1]); sys.exit(3)'
      const record = await client.run({ executor: 'container', code, stdin: 'in ', args: ['arg'] })
      expect(record).toMatchObject({
        executor_type: 'docker',
        status: 'completed',
        outcome: 'failed',
        exit_code: 3,
        signal: null,
        phase: 'run',
        stdout: 'in arg\n',
        runtime_id: expect.stringMatching(/^python3\.\d+\.\d+$/),
        container_id: expect.stringMatching(/^[0-9a-f]{64}$/),
        hostname: (await agent.record())!.report!.hostname,
        isolation: { sandbox: 'container', own_uid: true, network: 'none', cgroup: true, seccomp: true },
        usage: { cpu_time_sec: expect.any(Number), peak_memory_mb: expect.any(Number) },
        limits: { mem_limit_mb: 1_024, cpus_limit_cores: 1, pids_limit: 128, disk_limit_mb: 256 },
      })
      await until('its container is gone', () => containersOf(socketPath, record.id).length === 0)
    })

    it('is checked, and fails for what the check says', async () => {
      const { client } = circle.api
      const works = await client.post<ExecutorCheck>('/executors/container/check')
      expect(works.agents[0]!.findings.map(({ what, ok }) => [what, ok])).toEqual([
        ['policy', true],
        ['connection', true],
        ['sandbox', true],
        ['limits', true],
        ['disk', true],
        ['image', true],
        ['interpreter', true],
      ])
      expect(works.agents[0]!.runtime_id).toMatch(/^python3/)
      const fails = await client.post<ExecutorCheck>('/executors/missing/check')
      const record = await client.run({ executor: 'missing', code: '' })
      expect(record).toMatchObject({ outcome: 'infra_error', status: 'failed', exit_code: null })
      expect(record.error).toContain('pull_policy is never')
      expect(fails.ok).toBe(false)
      expect(fails.agents[0]!.findings.at(-1)).toEqual({
        what: 'image',
        ok: false,
        detail: expect.stringContaining('pull_policy is never') as string,
        advice: expect.stringContaining('docker pull example.org/nowhere:1') as string,
      })
    })

    it('is canceled within a second', async () => {
      const { client } = circle.api
      const { id } = await client.submit({ executor: 'container', code: long })
      await client.status(id, 'running')
      const asked = performance.now()
      await client.cancel(id)
      expect(await client.final(id)).toMatchObject({ outcome: 'canceled', stdout: 'ready\n' })
      // and as long again for a machine that does much else
      expect(performance.now() - asked).toBeLessThan(2_000)
      await until('its container is gone', () => containersOf(socketPath, id).length === 0)
    })

    it('runs out of memory, and that is what its record says', async () => {
      const { client } = circle.api
      const record = await client.run({ executor: 'small', code: 'x = bytearray(300 * 2**20)' })
      expect(record).toMatchObject({ outcome: 'out_of_memory', out_of_memory: true, signal: 'SIGKILL' })
    })

    it('goes on when its agent is killed, and is canceled by the next', async () => {
      const { agent } = circle
      const { client } = circle.api
      const mark = randomUUID()
      const { id } = await client.submit({ executor: 'container', code: long, args: [mark] })
      await client.status(id, 'running')
      const container = containersOf(socketPath, id)
      await agent.kill()
      await agent.start()
      expect(containersOf(socketPath, id)).toEqual(container)
      await client.cancel(id)
      expect(await client.final(id)).toMatchObject({
        outcome: 'canceled',
        signal: 'SIGKILL',
        stdout: 'ready\n',
      })
      await until('its container is gone', () => containersOf(socketPath, id).length === 0)
      expect(markedProcesses(mark)).toEqual([])
      expect(await client.run({ executor: 'container', code: 'print(1)' })).toMatchObject({ stdout: '1\n' })
    })
  })

  it('CR-27: is lost when the Engine is killed, never failed, and its slot takes the next', async () => {
    const engine = await startDockerEngine({ images: await madeTestImages() })
    onTestFinished(() => engine.stop())
    // An Engine is given 9 s to answer.
    const timeScale = 0.3
    const api = await apiForTest({ database, config, timeScale })
    const { client } = api
    const env = { DOCKER_HOST: `unix://${engine.socketPath}` }
    await agentForTest({ api, slots: 1, env, timeScale })
    const { id } = await client.submit({ executor: 'container', code: long })
    await client.status(id, 'running')
    await engine.kill()
    await engine.start()
    const lost = await client.final(id)
    expect(lost).toMatchObject({ outcome: 'lost', status: 'failed', completed: false, exit_code: null })
    // which has ended it, or is away for too long
    expect(lost.error).toContain('the Docker Engine')
    expect(await client.run({ executor: 'container', code: 'print(1)' })).toMatchObject({ stdout: '1\n' })
    await until('the container of before is gone', () => containersOf(engine.socketPath, id).length === 0)
  })

  it('CR-29: that hangs for longer than a lease costs no run elsewhere', async () => {
    const engine = await startDockerEngine({ images: await madeTestImages() })
    onTestFinished(() => engine.stop())
    const timeScale = 0.2
    const api = await apiForTest({ database, config, timeScale })
    const { client } = api
    const env = { DOCKER_HOST: `unix://${engine.socketPath}` }
    const agent = await agentForTest({ api, slots: 1, env, timeScale })
    const has = async (available: boolean): Promise<boolean> =>
      (await agent.record())?.report?.backends.docker?.available === available
    await until('the Engine is there', () => has(true))
    const code = 'import time; time.sleep(20); print("done")'
    const { id } = await client.submit({ executor: 'host', code })
    await client.status(id, 'running')
    await engine.pause()
    await until('the agent says that it hangs', () => has(false))
    expect(await client.final(id)).toMatchObject({ outcome: 'succeeded', stdout: 'done\n', attempt: 1 })
    await engine.resume()
    await until('the agent says that it is back', () => has(true))
  })
})
