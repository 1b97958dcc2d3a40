import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Agent, ExecutionRecord, Job, ShownExecutor } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startPackageIndex, type PackageIndexServer } from '../../infra/package-index.ts'
import { startSshServer, type SshServer } from '../../infra/ssh-server.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { testImages } from '../../infra/test-images.ts'
import { sharedCircle } from './harness/for-test.ts'
import { until } from './harness/until.ts'

/** `errand-alpha` needs `errand-beta`. */
const dependencies = ['errand-alpha==1.1', 'errand_beta>=1.2', 'Errand-Gamma']
const code = `
import errand_alpha, errand_beta, errand_gamma, sys
print(errand_alpha.__name__, errand_beta.__name__, errand_gamma.__name__, sys.argv[1])`

describe('executions with packages', () => {
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  let index: PackageIndexServer
  let server: SshServer
  beforeAll(async () => {
    index = await startPackageIndex({ dir: packages })
    server = await startSshServer()
  })
  afterAll(async () => {
    await index?.stop()
    await server?.stop()
    rmSync(packages, { recursive: true, force: true })
  })
  const circle = sharedCircle({
    database: 'pglite',
    timeScale: 0.3,
    slots: 2,
    async env() {
      return { DOCKER_HOST: `unix://${await testDockerEngine()}` }
    },
  })

  /** Each test has an executor of its own; sets are shared where the same is meant. */
  async function executor(type: string, more: object = {}): Promise<string> {
    const name = `${type}-${crypto.randomUUID().slice(0, 8)}`
    const { host, port, username, privateKey: private_key, hostKey: host_key } = server
    const kinds: Record<string, object> = {
      localhost: { executor_type: 'localhost' },
      docker: { executor_type: 'docker', image: testImages.python },
      ssh: { executor_type: 'ssh', host, port, username, private_key, host_key },
    }
    const allowed = { allow_dependencies: true, index_url: index.pythonUrl }
    await circle.api.client.post('/executors', { name, ...kinds[type], ...allowed, ...more })
    return name
  }

  const submit = (name: string, count: number, more: object = {}): Promise<ExecutionRecord[]> =>
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        circle.api.client.submit({
          executor: name,
          code,
          dependencies,
          args: [String(n)],
          timeout_sec: 120,
          retry: { max_attempts: 3 },
          ...more,
        }),
      ),
    )

  const finals = (submitted: readonly ExecutionRecord[]): Promise<ExecutionRecord[]> =>
    Promise.all(submitted.map(({ id }) => circle.api.client.final(id, 180_000)))

  const imported = (n: number): string => `errand_alpha errand_beta errand_gamma ${n}\n`

  it.each(['localhost', 'docker', 'ssh'])(
    'on %s have a set that is installed once for 20 of them, and import it',
    async (type) => {
      const name = await executor(type)
      const before = index.log.length
      const records = await finals(await submit(name, 20))
      expect(records.map(({ stdout, stderr, error }) => error ?? (stderr || stdout))).toEqual(
        records.map((_, n) => imported(n)),
      )
      const files = index.log.slice(before).filter(({ path }) => path.startsWith('/files/'))
      expect(files.map(({ path }) => path).toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
        expect.stringContaining('errand_alpha-1.1'),
        expect.stringContaining('errand_beta-1.2'),
        expect.stringContaining('errand_gamma-0.1'),
      ])
      const shown = await until('the set is shown', async () => {
        const now = await circle.api.client.get<ShownExecutor>(`/executors/${name}`)
        return now.dependency_sets.length > 0 ? now : undefined
      })
      expect(shown.dependency_sets).toMatchObject([
        { agent_id: circle.agent.id, runtime: 'python', last_used_at: expect.any(String) as string },
      ])
      expect(shown.dependency_sets[0]!.bytes).toBeGreaterThan(1_000)
      const agent = await circle.api.client.get<Agent>(`/agents/${circle.agent.id}`)
      expect(agent.stock!.sets.map(({ executor }) => executor)).toContain(name)
      expect(agent.stock!.disk[0]!.free_bytes).toBeGreaterThan(0)
    },
  )

  it('end with the words of the index where it has no such package', async () => {
    const name = await executor('localhost')
    const [record] = await finals(await submit(name, 1, { dependencies: ['errand-nothing==7'] }))
    expect(record).toMatchObject({ outcome: 'infra_error' })
    expect(record!.error).toMatch(/its dependencies were not installed: .*errand-nothing/)
  })

  it.each(['starting', 'brought'])(
    'lose nothing when the agent is killed at %s of an installation',
    async (point) => {
      const name = await executor('localhost', { description: point })
      await circle.agent.stop()
      await circle.agent.start({ ERRAND_CRASH_AT: point })
      const job = await circle.api.client.post<Job>('/jobs', {
        type: 'runtime.install',
        params: { code_executor: name, dependencies: [...dependencies, `errand-gamma<${point.length}`] },
      })
      await until('it has died', () => !circle.agent.process.alive)
      await circle.agent.start()
      const done = await until('it has ended', async () => {
        const now = await circle.api.client.get<Job>(`/jobs/${job.id}`)
        return now.outcome === null ? undefined : now
      })
      expect(done).toMatchObject({ outcome: 'succeeded' })
      const more = { dependencies: [...dependencies, `errand-gamma<${point.length}`] }
      const [record] = await finals(await submit(name, 1, more))
      expect(record).toMatchObject({ outcome: 'succeeded', stdout: imported(0) })
    },
  )

  it('lose nothing when the API is killed while they wait', async () => {
    const name = await executor('localhost')
    index.fault = (path) => (path.startsWith('/files/') ? { pauseMs: 800 } : undefined)
    const submitted = await submit(name, 4, { dependencies: [...dependencies, 'errand-gamma<99'] })
    for (let n = 0; n < 3; n++) {
      await new Promise((resolve) => setTimeout(resolve, 400 * n))
      await circle.api.kill()
      await circle.api.start()
    }
    index.fault = undefined
    const records = await finals(submitted)
    expect(records.map(({ stdout, error }) => error ?? stdout)).toEqual(records.map((_, n) => imported(n)))
  })
})
