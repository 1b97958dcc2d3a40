import { agentPolicy, dockerExecutor } from '@errand/shared'
import type { Assignment, JobProgress, JobResult } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import type { DockerEngine } from '../../infra/docker-engine.ts'
import { startDockerRegistry } from '../../infra/docker-registry.ts'
import type { DockerRegistry } from '../../infra/docker-registry.ts'
import { runTool } from '../../infra/run-tool.ts'
import { madeTestImages, testImages } from '../../infra/test-images.ts'
import { Missing, Rejected } from '../../apps/agent/src/backends/backend.ts'
import { drive } from './drive.ts'
import { docker, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

interface Job {
  brought: Promise<JobResult>
  seen: { at: number; progress: JobProgress }[]
  log: string[]
  stop: () => void
}

/** A job that downloads the image of an executor with these settings. */
function download({ backend }: OpenDocker, settings: object): Job {
  const stop = new AbortController()
  const seen: Job['seen'] = []
  const log: string[] = []
  const brought = backend.download!({
    assignment: {
      submitted_at_ms: Date.now(),
      executor: { settings: dockerExecutor.parse(settings) },
    } as unknown as Assignment,
    slot: 0,
    signal: stop.signal,
    starting: () => {},
    progress: (progress) => void seen.push({ at: performance.now(), progress }),
    log: (level, message) => void log.push(`${level}: ${message}`),
  })
  // Looked at later, and until then nobody's fault.
  brought.catch(() => {})
  return { brought, seen, log, stop: () => stop.abort('canceled') }
}

/** Something of it is on its way to the Engine. */
async function underWay(job: Job): Promise<void> {
  await vi.waitFor(() => expect(job.seen.at(-1)!.progress.bytes_done).toBeGreaterThan(0), 10_000)
}

describe('docker_image.download', () => {
  let engine: DockerEngine
  let registry: DockerRegistry
  let closed: DockerRegistry
  let opened: OpenDocker
  let repository: string
  let count = 0
  beforeAll(async () => {
    const images = await madeTestImages()
    // It tries once more after 5 s; else it would for a minute.
    engine = await startDockerEngine({ images, settings: { 'max-download-attempts': 1 } })
    registry = await startDockerRegistry()
    closed = await startDockerRegistry({ auth: true })
    await registry.showTo(engine)
    await closed.showTo(engine)
    opened = await openDocker(engine.socketPath)
  }, 180_000)
  afterAll(async () => {
    await opened.close()
    await engine.stop()
    await registry.stop()
    await closed.stop()
  })
  beforeEach(() => {
    repository = `team/one-${++count}`
    for (const one of [registry, closed])
      Object.assign(one.faults, { bytesPerSec: undefined, cutAfter: undefined, instead: undefined })
  })

  const isThere = (reference: string): boolean =>
    docker(engine.socketPath, 'images', '--quiet', reference).length > 0
  const accesses = (): string[] => registry.accesses().filter((one) => one.includes(`/${repository}/`))
  const blobs = (): string[] => accesses().filter((one) => one.includes('/blobs/'))

  test('brings an image, and tells at least once a second how far it is', async () => {
    const { reference, digest } = await registry.publish(repository, '1', [600_000, 10_000, 900_000])
    registry.faults.bytesPerSec = 300_000
    const { brought, seen, log } = download(opened, { image: reference })
    const result = await brought
    expect(result).toEqual({
      digest,
      bytes: expect.any(Number),
      already_there: false,
      took_ms: expect.any(Number),
    })
    expect(result.bytes).toBeGreaterThanOrEqual(1_510_000)
    expect(result.took_ms).toBeGreaterThan(2_000)
    const phases = [...new Set(seen.map(({ progress }) => progress.phase))]
    expect(phases).toEqual(['resolving', 'downloading', 'extracting', 'done'])
    const percents = seen.map(({ progress }) => progress.percent ?? 0)
    expect(percents).toEqual(percents.toSorted((one, other) => one - other))
    expect(percents.at(-1)).toBe(100)
    const { bytes_done: done, bytes_total: total } = seen.at(-1)!.progress
    expect(done).toBe(total)
    expect(total).toBeGreaterThan(1_510_000)
    // Once a second; a timer on a busy machine is late now and then.
    const gaps = seen.slice(1).map(({ at }, index) => at - seen[index]!.at)
    const median = gaps.toSorted((one, other) => one - other)[Math.floor(gaps.length / 2)]
    expect(median).toBeLessThan(1_100)
    const speeds = seen.map(({ progress }) => progress.bytes_per_sec ?? 0)
    expect(Math.max(...speeds)).toBeGreaterThan(100_000)
    expect(Math.max(...speeds)).toBeLessThan(2_000_000)
    expect(log[0]).toBe(`info: downloading ${reference}`)
    expect(log.join('\n')).toMatch(/info: layers to fetch: 3, of 1\.5 MB in all; there already: 0/)
    expect(isThere(reference)).toBe(true)
  })

  test('fetches nothing that is there already', async () => {
    const { reference, digest } = await registry.publish(repository, '1', [1_000])
    await download(opened, { image: reference }).brought
    const before = accesses().length
    const again = await download(opened, { image: reference }).brought
    expect(again).toMatchObject({ digest, already_there: true })
    expect(accesses()).toHaveLength(before)
    const anew = await download(opened, { image: reference, pull_policy: 'always' }).brought
    expect(anew).toMatchObject({ digest, already_there: true })
    expect(accesses().length).toBeGreaterThan(before)
    expect(blobs()).toHaveLength(2)
  })

  test('removes what it downloaded and was not used for longest, never what others brought or a run uses', async () => {
    const small = await openDocker(engine.socketPath, {
      policy: { disk: { ...agentPolicy.parse({}).disk, images_mb: 3 } },
    })
    onTestFinished(() => small.close())
    const names = ['used', 'idle', 'theirs', 'newest'].map((name) => `${repository}-${name}`)
    const published = await Promise.all(names.map((name) => registry.publish(name, '1', [1_500_000])))
    const [used, idle, theirs, newest] = published.map(({ reference }) => reference)
    // Not by a call that blocks: the registry's front is in this process.
    await runTool('docker', ['--host', `unix://${engine.socketPath}`, 'pull', '--quiet', theirs!])
    for (const image of [used, theirs, idle]) await download(small, { image }).brought
    // It has no interpreter, and yet it was used.
    await expect(
      drive({
        backend: small.backend,
        settings: dockerExecutor.parse({ image: used }),
        submission: { code: '' },
      }),
    ).rejects.toThrow('no interpreter')
    expect([used, idle, theirs].map((one) => isThere(one!))).toEqual([true, true, true])
    await download(small, { image: newest }).brought
    expect([used, idle, theirs, newest].map((one) => isThere(one!))).toEqual([true, false, true, true])
    expect((await small.backend.stock!()).images).toMatchObject([
      { name: newest, downloaded: true, bytes: expect.any(Number) },
      { name: used, downloaded: true, in_use: false },
    ])
  })

  test('brings what a tag means now, under pull_policy always', async () => {
    const { reference } = await registry.publish(repository, '1', [1_000])
    await download(opened, { image: reference }).brought
    const { digest } = await registry.publish(repository, '1', [2_000])
    expect(await download(opened, { image: reference, pull_policy: 'always' }).brought).toMatchObject({
      digest,
      already_there: false,
    })
  })

  test.each(['', ':1', ':other'])('brings what a digest names, whatever the tag: %j', async (tag) => {
    const { digest } = await registry.publish(repository, '1', [1_000])
    const image = `${registry.name}/${repository}${tag}@${digest}`
    expect(await download(opened, { image }).brought).toMatchObject({ digest, already_there: false })
    expect(await download(opened, { image }).brought).toMatchObject({ digest, already_there: true })
  })

  test.each([
    ['tag', (reference: string) => `${reference}7`],
    ['repository', (reference: string) => reference.replace('/team/', '/nobody/')],
    ['digest', (reference: string) => `${reference}@sha256:${'0'.repeat(64)}`],
  ])('refuses a %s that the registry does not have', async (_, other) => {
    const { reference } = await registry.publish(repository, '1', [1_000])
    const refused = download(opened, { image: other(reference) }).brought
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow(
      /^the registry 127\.0\.0\.1:\d+ does not have .* or not for an executor without registry_auth: .*manifest unknown/,
    )
  })

  test('brings what a registry shows to its own alone', async () => {
    const { reference, digest } = await closed.publish(repository, '1', [1_000])
    const { username, password } = closed
    const without = download(opened, { image: reference }).brought
    await expect(without).rejects.toThrow(Rejected)
    await expect(without).rejects.toThrow('asks for credentials, and the executor has no registry_auth: ')
    const wrong = download(opened, {
      image: reference,
      registry_auth: { username, password: 'not it' },
    }).brought
    await expect(wrong).rejects.toThrow(Rejected)
    await expect(wrong).rejects.toThrow("refuses the executor's registry_auth: ")
    const right = download(opened, { image: reference, registry_auth: { username, password } })
    expect(await right.brought).toMatchObject({ digest, already_there: false })
    expect(JSON.stringify([right.log, opened.logged])).not.toContain(password)
  })

  test.each([
    ['that is not there', () => registry.kill(), () => registry.start(), /did not pull an image: .*EOF/],
    [
      'that is broken',
      () => void (registry.faults.instead = () => ({ status: 503 })),
      () => void (registry.faults.instead = undefined),
      /did not pull an image: .*503 Service Unavailable/,
    ],
    [
      'that has had enough',
      () =>
        void (registry.faults.instead = () => ({
          status: 429,
          headers: { 'content-type': 'application/json' },
          body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"denied: slow down"}]}',
        })),
      () => void (registry.faults.instead = undefined),
      /did not pull an image: .*toomanyrequests/,
    ],
    [
      'that cuts the connection in the middle of a layer',
      () => void (registry.faults.cutAfter = 300_000),
      () => void (registry.faults.cutAfter = undefined),
      /did not pull an image: .*unexpected EOF/,
    ],
    [
      'that sends something else',
      () =>
        void (registry.faults.instead = (_: string, path: string) =>
          path.includes('/blobs/') ? { status: 200, body: 'x' } : undefined),
      () => void (registry.faults.instead = undefined),
      /did not pull an image: .*verification failed/,
    ],
  ])('may be tried again after a registry %s', async (_, breaks, mends, words) => {
    const { reference, digest } = await registry.publish(repository, '1', [10_000, 1_000_000])
    await breaks()
    const failed = download(opened, { image: reference })
    await expect(failed.brought).rejects.toThrow(words)
    await expect(failed.brought).rejects.not.toBeInstanceOf(Rejected)
    expect(failed.seen.map(({ progress }) => progress.phase)).not.toContain('done')
    expect(isThere(reference)).toBe(false)
    await mends()
    expect(await download(opened, { image: reference }).brought).toMatchObject({
      digest,
      already_there: false,
    })
  })

  test('goes on when the Engine tries again by itself, and says so', async () => {
    const { reference, digest } = await registry.publish(repository, '1', [1_000_000])
    registry.faults.cutAfter = 300_000
    const { brought, log, seen } = download(opened, { image: reference })
    await vi.waitFor(() => expect(log.join()).toContain('warn: a layer did not come whole'), 10_000)
    registry.faults.cutAfter = undefined
    expect(await brought).toMatchObject({ digest })
    const { bytes_done: done, bytes_total: total } = seen.at(-1)!.progress
    expect([done, total! > 1_000_000]).toEqual([total, true])
  })

  test('fails when the Engine is killed in the middle, and brings it once that is back', async () => {
    const { reference, digest } = await registry.publish(repository, '1', [10_000, 2_000_000])
    registry.faults.bytesPerSec = 500_000
    const job = download(opened, { image: reference })
    await underWay(job)
    await engine.kill()
    await expect(job.brought).rejects.toThrow(
      /closed the connection .* when asked to pull an image: it may have ended/,
    )
    await expect(job.brought).rejects.not.toBeInstanceOf(Rejected)
    const away = download(opened, { image: reference })
    await expect(away.brought).rejects.toThrow('does not answer (ECONNREFUSED): is it running?')
    await engine.start()
    registry.faults.bytesPerSec = undefined
    expect(await download(opened, { image: reference }).brought).toMatchObject({
      digest,
      already_there: false,
    })
  })

  test('fails when the Engine says nothing more, and has it end', async () => {
    const impatient = await openDocker(engine.socketPath, { time: { pullSilenceMs: 1_000 } })
    onTestFinished(() => impatient.close())
    const { reference } = await registry.publish(repository, '1', [2_000_000])
    registry.faults.bytesPerSec = 8_000
    const job = download(impatient, { image: reference })
    await expect(job.brought).rejects.toThrow('did not answer in 1 s when asked to pull an image')
    await vi.waitFor(() => expect(registry.sending()).toBe(0), 10_000)
  })

  test('ends at the Engine too when it is stopped', async () => {
    const { reference } = await registry.publish(repository, '1', [4_000_000])
    registry.faults.bytesPerSec = 200_000
    const job = download(opened, { image: reference })
    await underWay(job)
    expect(registry.sending()).toBe(1)
    job.stop()
    const began = performance.now()
    await expect(job.brought).rejects.toThrow('it was to end')
    expect(performance.now() - began).toBeLessThan(500)
    // It would go on for 20 s.
    await vi.waitFor(() => expect(registry.sending()).toBe(0), 10_000)
    expect(isThere(reference)).toBe(false)
  })

  test('makes one pull however many ask', async () => {
    const { reference } = await registry.publish(repository, '1', [10_000, 500_000])
    registry.faults.bytesPerSec = 500_000
    const jobs = Array.from({ length: 10 }, () => download(opened, { image: reference }))
    await underWay(jobs[9]!)
    jobs[0]!.stop()
    const results = await Promise.allSettled(jobs.map(({ brought }) => brought))
    expect(results.map(({ status }) => status)).toEqual(['rejected', ...Array(9).fill('fulfilled')])
    // The configuration and each layer, once.
    expect(blobs()).toHaveLength(3)
    expect(accesses().filter((one) => one.includes('/manifests/'))).toHaveLength(2)
  })

  test('refuses where there is no room', async () => {
    const full = await openDocker(engine.socketPath, {
      policy: { disk: { images_mb: 1, sets_mb: 1, sets_max_age_days: 1, min_free_mb: 10 ** 9 } },
    })
    onTestFinished(() => full.close())
    const { reference } = await registry.publish(repository, '1', [1_000])
    const refused = download(full, { image: reference }).brought
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow(
      /no room for the image: \d+ MB are free in \/.*keeps 1000000000 MB free/,
    )
    expect(accesses()).toEqual([])
  })

  describe('for a run', () => {
    let image: string
    beforeEach(async () => {
      image = await registry.push(engine, testImages.bare, repository, '1')
    })

    const code = 'print("hello")'
    const run = (settings: object = {}, submittedAt = Date.now()) =>
      drive({
        backend: opened.backend,
        settings: dockerExecutor.parse({ image, code_executor_path: '/usr/bin/python3', ...settings }),
        submission: { code },
        submittedAt,
      })

    test('is missed where it is not there, and then found', async () => {
      const missed = run()
      await expect(missed).rejects.toThrow(Missing)
      await expect(missed).rejects.toMatchObject({
        need: 'docker_image.download',
        message: `the image ${image} is not on this agent`,
      })
      await download(opened, { image }).brought
      expect((await run()).stdout.toString()).toContain(code)
    })

    test('is an error where it must not be downloaded', async () => {
      const failed = run({ pull_policy: 'never' })
      await expect(failed).rejects.toThrow(
        `the image ${image} is not on this agent, and pull_policy is never: pull it there (docker pull ${image})`,
      )
      await expect(failed).rejects.not.toBeInstanceOf(Missing)
    })

    test('is downloaded after each submission, under pull_policy always', async () => {
      const always = { pull_policy: 'always' }
      await download(opened, { image }).brought
      const submittedAt = Date.now() + 1
      await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(submittedAt))
      await expect(run(always, submittedAt)).rejects.toThrow(Missing)
      await download(opened, { image, ...always }).brought
      expect((await run(always, submittedAt)).stdout.toString()).toContain(code)
      await expect(run(always, Date.now() + 1)).rejects.toThrow(
        `pull_policy is always: the image ${image} is looked for at its registry first`,
      )
    })

    test.each([
      ['missing', true, 'is not there yet: the first execution waits for its download'],
      ['always', true, 'is not there yet: the first execution waits for its download'],
      ['never', false, 'is not there, and pull_policy is never'],
    ])('is told by a check, under pull_policy %s', async (policy, ok, words) => {
      const { findings } = await opened.backend.check({
        executor: {
          executor_type: 'docker',
          name: 'one',
          config_id: crypto.randomUUID(),
          source: 'rest',
          settings: dockerExecutor.parse({ image, pull_policy: policy }),
        },
        runtime: 'python',
        limits: { timeout_sec: 30, output_limit_kb: 1_024 },
        required_limits: [],
        signal: new AbortController().signal,
      })
      expect(findings.at(-1)).toMatchObject({ what: 'image', ok, detail: `${image} ${words}` })
    })
  })
})
