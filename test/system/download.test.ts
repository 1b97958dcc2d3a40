import type { ExecutionRecord, Job, JobEvents } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startDockerEngine, type DockerEngine } from '../../infra/docker-engine.ts'
import { startDockerRegistry, type DockerRegistry } from '../../infra/docker-registry.ts'
import { madeTestImages, testImages } from '../../infra/test-images.ts'
import { readEventStream } from './harness/event-reader.ts'
import { sharedCircle } from './harness/for-test.ts'
import { until } from './harness/until.ts'

describe('an image that is not on the agent', () => {
  let registry: DockerRegistry
  let engine: DockerEngine
  let count = 0
  beforeAll(async () => {
    registry = await startDockerRegistry()
    // It tries once more after 5 s; else it would for a minute.
    engine = await startDockerEngine({ settings: { 'max-download-attempts': 1 } })
    await registry.showTo(engine)
    // The agent's Engine has nothing of it.
    const other = await startDockerEngine({ images: await madeTestImages() })
    try {
      await registry.showTo(other)
      await registry.push(other, testImages.python, 'python', '1')
    } finally {
      await other.stop()
    }
  })
  afterAll(async () => {
    await engine?.stop()
    await registry?.stop()
  })
  afterEach(() => {
    Object.assign(registry.faults, { bytesPerSec: undefined, cutAfter: undefined, instead: undefined })
  })
  const circle = sharedCircle({
    database: 'pglite',
    timeScale: 0.3,
    slots: 2,
    env: () => Promise.resolve({ DOCKER_HOST: `unix://${engine.socketPath}` }),
  })

  async function executor(image: string): Promise<string> {
    const name = `image-${++count}`
    await circle.api.client.post('/executors', { name, executor_type: 'docker', image })
    return name
  }

  /** One with a layer of a few hundred KB, and no interpreter in it. */
  async function published(
    bytes = 600_000,
  ): Promise<{ executor: string; repository: string; digest: string }> {
    const repository = `one-${count}`
    const { reference, digest } = await registry.publish(repository, '1', [bytes])
    return { executor: await executor(reference), repository, digest }
  }

  const download = (code_executor: string, more: object = {}): Promise<Job> =>
    circle.api.client.post('/jobs', { type: 'docker_image.download', params: { code_executor }, ...more })

  const ended = ({ id }: { id: string }): Promise<Job> =>
    until(
      `job ${id} has ended`,
      async () => {
        const job = await circle.api.client.get<Job>(`/jobs/${id}`).catch(() => undefined)
        return job?.outcome ? job : undefined
      },
      { withinMs: 120_000 },
    )

  const partOf = async ({ id }: { id: string }): Promise<Job> => {
    const { parts } = await circle.api.client.get<Job>(`/jobs/${id}`)
    return circle.api.client.get<Job>(`/jobs/${parts[0]!.id}`)
  }

  it('is pulled once for 50 executions that come at once, and all of them succeed', async () => {
    const name = await executor(`${registry.name}/python:1`)
    const submitted = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        circle.api.client.submit({ executor: name, code: `print(${n})`, timeout_sec: 120 }),
      ),
    )
    const records = await Promise.all(submitted.map(({ id }) => circle.api.client.final(id, 180_000)))
    expect(records.map(({ stdout, error }) => error ?? stdout)).toEqual(records.map((_, n) => `${n}\n`))
    const gets = registry.accesses().filter((one) => one.startsWith('GET /v2/python/'))
    expect(new Set(gets).size).toBe(gets.length)
    expect(gets.filter((one) => one.includes('/manifests/'))).toHaveLength(1)
  })

  it('is downloaded as a job, whose progress is told at least once a second', async () => {
    const { executor: name, digest } = await published()
    registry.faults.bytesPerSec = 150_000
    const { id } = await download(name)
    const told: number[] = []
    const logged: string[] = []
    const headers = { accept: 'text/event-stream' }
    for await (const event of readEventStream<JobEvents>(circle.api.client, `/jobs/${id}/logs`, headers)) {
      if (event.name === 'progress') told.push(performance.now())
      if (event.name === 'log') logged.push(event.data.message)
    }
    const gaps = told.slice(1).map((at, n) => at - told[n]!)
    expect(gaps.toSorted((one, other) => one - other)[Math.floor(gaps.length / 2)]).toBeLessThan(1_100)
    expect(gaps.length).toBeGreaterThanOrEqual(3)
    expect(logged).toContainEqual(expect.stringContaining('downloading'))
    expect(await ended({ id })).toMatchObject({
      status: 'completed',
      outcome: 'succeeded',
      progress: { phase: 'done', percent: 100 },
      parts: [{ agent_id: circle.agent.id, status: 'completed', result: { digest, already_there: false } }],
    })
  })

  it('is downloaded at the second attempt when the first is cut in the middle, which is told', async () => {
    const { executor: name } = await published()
    registry.faults.cutAfter = 200_000
    const job = await download(name)
    await until('the first attempt has failed', async () => (await partOf(job)).attempts.length === 1, {
      withinMs: 120_000,
    })
    registry.faults.cutAfter = undefined
    expect(await ended(job)).toMatchObject({ outcome: 'succeeded' })
    const { attempts } = await partOf(job)
    expect(attempts).toMatchObject([{ outcome: 'infra_error' }, { outcome: 'succeeded' }])
    expect(attempts[0]!.error).toMatch(/EOF|cut|closed|reset/)
  })

  it('that its registry does not have fails the job and the executions with that cause, at once', async () => {
    const name = await executor(`${registry.name}/nobody:1`)
    const record = await circle.api.client.run({ executor: name, code: '' })
    expect(record).toMatchObject({ outcome: 'infra_error', attempt: 0 })
    expect(record.error).toMatch(/its image was not downloaded: the registry .* does not have/)
    const job = await ended(await download(name))
    expect(job).toMatchObject({ status: 'failed', outcome: 'rejected', attempt: 0 })
    expect(await partOf(job)).toMatchObject({ attempt: 1, max_attempts: 3 })
  })

  it('is no longer downloaded when the job is canceled', async () => {
    const { executor: name } = await published()
    registry.faults.bytesPerSec = 20_000
    const job = await download(name)
    await until('bytes come', async () => ((await partOf(job)).progress?.bytes_done ?? 0) > 0)
    const canceled = await circle.api.client.post<Job>(`/jobs/${job.id}/cancel`)
    expect(canceled).toMatchObject({ status: 'canceled', outcome: 'canceled' })
    await until('the pull has ended', async () => (await partOf(job)).outcome === 'canceled')
    await until('nothing comes any more', () => registry.sending() === 0)
  })

  it.each(['recv_claim', 'starting', 'started', 'brought', 'spooled_result'])(
    'is downloaded all the same when the agent is killed at %s',
    async (point) => {
      const { executor: name, digest } = await published()
      registry.faults.bytesPerSec = 2_000_000
      await circle.agent.stop()
      await circle.agent.start({ ERRAND_CRASH_AT: point })
      const job = await download(name)
      await until('it has died', () => !circle.agent.process.alive)
      await circle.agent.start()
      expect(await ended(job)).toMatchObject({ outcome: 'succeeded', parts: [{ result: { digest } }] })
    },
  )

  it('is downloaded all the same when the API is killed again and again', async () => {
    const { executor: name } = await published(900_000)
    registry.faults.bytesPerSec = 250_000
    const job = await download(name)
    for (let n = 0; n < 4; n++) {
      await new Promise((resolve) => setTimeout(resolve, 300 * n))
      await circle.api.kill()
      await circle.api.start()
    }
    expect(await ended(job)).toMatchObject({ outcome: 'succeeded' })
    const live = await circle.api.client.get<{ data: ExecutionRecord[] }>('/executions?status=locked,waiting')
    expect(live.data).toEqual([])
  })
})
