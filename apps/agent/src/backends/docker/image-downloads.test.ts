import type { ServerResponse } from 'node:http'
import { agentPolicy, dockerExecutor } from '@errand/shared'
import type { Assignment, JobProgress } from '@errand/shared'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Rejected } from '../backend.ts'
import type { Maintenance } from '../backend.ts'
import { ImageDownloads } from './image-downloads.ts'
import type { DownloadParts } from './image-downloads.ts'
import { fakeEngine, json } from './testing-fake-engine.ts'

const name = 'example.org/team/one:2'
const digest = `sha256:${'1'.repeat(64)}`
const secret = 'very secret'

/** An Engine which has what `has` says, with a pull under way for each of `pulls`. */
async function downloads(given: Partial<DownloadParts> = {}) {
  const pulls: ServerResponse[] = []
  const ended = vi.fn<() => void>()
  let has: string | undefined
  const { engine, asked } = await fakeEngine(
    (request, response) => {
      if (request.url!.includes('/images/create')) {
        pulls.push(response.writeHead(200))
        response.flushHeaders()
        response.on('close', ended)
      } else if (has === undefined) json(response, { message: 'No such image' }, 404)
      else
        json(response, {
          Id: has,
          Size: 70,
          RepoDigests: [`other/one@sha256:${'2'.repeat(64)}`, `example.org/team/one@${digest}`],
        })
    },
    {},
    { pullSilenceMs: 60_000 },
  )
  const downloaded = vi.fn<DownloadParts['images']['downloaded']>()
  const parts = {
    engine,
    policy: agentPolicy.parse({}),
    images: { downloaded, makeRoom: () => Promise.resolve() },
    now: () => 1_000,
    freeMb: async () => undefined,
  }
  return {
    all: new ImageDownloads({ ...parts, ...given }),
    asked,
    pulls,
    ended,
    downloaded,
    setImage: (id: string) => void (has = id),
    /** Once there is a pull. */
    told: (...lines: object[]) =>
      vi.waitFor(() => pulls.at(-1)!.write(lines.map((one) => `${JSON.stringify(one)}\n`).join(''))),
    end: (id = 'sha256:new'): void => {
      has = id
      pulls
        .at(-1)!
        .end(
          `${JSON.stringify({ status: `Digest: ${digest}` })}\n{"status":"Status: Downloaded newer image"}\n`,
        )
    },
  }
}

/** A job that asks for it. */
function job(settings: object = {}) {
  const stop = new AbortController()
  const log: string[] = []
  const seen: JobProgress[] = []
  const starting = vi.fn<() => void>()
  const work: Maintenance = {
    assignment: {
      submitted_at_ms: 900,
      executor: { settings: dockerExecutor.parse({ image: name, ...settings }) },
    } as unknown as Assignment,
    slot: 0,
    signal: stop.signal,
    starting,
    progress: (progress) => void seen.push(progress),
    log: (level, message) => void log.push(`${level}: ${message}`),
  }
  return { work, stop: () => stop.abort('canceled'), log, seen, starting }
}

describe('ImageDownloads', () => {
  it('brings an image, and tells of it as it goes', async () => {
    const { all, told, end, downloaded } = await downloads()
    const { work, log, seen, starting } = job()
    const brought = all.download(work)
    await told({ status: 'Already exists', id: 'base' }, { status: 'Pulling fs layer', id: 'a' })
    await told({ status: 'Downloading', id: 'a', progressDetail: { current: 1_000_000, total: 2_000_000 } })
    await told({ status: 'Retrying in 2 seconds', id: 'a' }, { status: 'Retrying in 1 second', id: 'a' })
    await told({ status: 'Download complete', id: 'a' }, { status: 'Pull complete', id: 'a' })
    end()
    expect(await brought).toEqual({ digest, bytes: 70, already_there: false, took_ms: expect.any(Number) })
    expect(starting).toHaveBeenCalledOnce()
    expect(seen[0]).toMatchObject({ phase: 'resolving', percent: null })
    expect(seen.at(-1)).toMatchObject({ phase: 'done', bytes_done: 2_000_000, percent: 100 })
    expect(log).toEqual([
      `info: downloading ${name}`,
      'info: asking the registry',
      'info: downloading',
      'info: layers to fetch: 1, of 2.0 MB in all; there already: 1',
      'warn: a layer did not come whole: the Engine fetches it again',
      'info: all layers are fetched; unpacking',
      'info: the Engine has it',
    ])
    expect(downloaded).toHaveBeenCalledExactlyOnceWith(name, expect.objectContaining({ id: 'sha256:new' }))
  })

  it('tells at least once a second how far it is, though the Engine says nothing', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { all, told, end } = await downloads()
    const { work, seen } = job()
    const brought = all.download(work)
    await told({ status: 'Pulling fs layer', id: 'a' })
    await vi.waitFor(() => expect(seen.at(-1)!.phase).toBe('downloading'))
    const before = seen.length
    vi.advanceTimersByTime(3_000)
    expect(seen.length - before).toBe(3)
    end()
    await brought
  })

  it('fetches nothing where it is there, under pull_policy missing', async () => {
    const { all, setImage, pulls, downloaded } = await downloads()
    setImage('sha256:old')
    const { work, log } = job()
    expect(await all.download(work)).toMatchObject({ digest, bytes: 70, already_there: true })
    expect(log).toEqual([`info: ${name} was there already`])
    expect([pulls.length, downloaded.mock.calls.length]).toEqual([0, 0])
  })

  it.each([
    ['sha256:old', true],
    ['sha256:new', false],
  ])('asks the registry nevertheless under pull_policy always, and finds %s', async (id, alreadyThere) => {
    const { all, setImage, pulls, end, downloaded } = await downloads()
    setImage('sha256:old')
    const brought = all.download(job({ pull_policy: 'always' }).work)
    await vi.waitFor(() => expect(pulls).toHaveLength(1))
    end(id)
    expect(await brought).toMatchObject({ already_there: alreadyThere })
    expect(downloaded).toHaveBeenCalledTimes(alreadyThere ? 0 : 1)
  })

  it('refuses to under pull_policy never', async () => {
    const { all } = await downloads()
    const { work, starting } = job({ pull_policy: 'never' })
    await expect(all.download(work)).rejects.toThrow(Rejected)
    expect(starting).not.toHaveBeenCalled()
  })

  it('says that the image is gone, where it is', async () => {
    const { all, pulls } = await downloads()
    const brought = all.download(job().work)
    await vi.waitFor(() => expect(pulls).toHaveLength(1))
    pulls[0]!.end('{"status":"Status: Image is up to date"}\n')
    await expect(brought).rejects.toThrow(`has pulled ${name}, and does not have it: it was removed at once`)
  })

  describe('with several jobs', () => {
    it('makes one pull for those who ask for the same, however they write it', async () => {
      const { all, pulls, told, end, downloaded } = await downloads()
      const jobs = [job(), job(), job({ image: 'example.org/team/one:2' })]
      const brought = jobs.map(({ work }) => all.download(work))
      await told({ status: 'Pulling fs layer', id: 'a' })
      end()
      const results = await Promise.all(brought)
      expect(results.map(({ digest: one, already_there }) => [one, already_there])).toEqual(
        jobs.map(() => [digest, false]),
      )
      expect([pulls.length, downloaded.mock.calls.length]).toEqual([1, 1])
      for (const { seen } of jobs) expect(seen.at(-1)).toMatchObject({ phase: 'done', percent: 100 })
      expect(jobs[1]!.log[0]).toBe(`info: another job downloads ${name} already: waiting for that`)
    })

    it('does not let one have what its own credentials may not bring', async () => {
      const { all, pulls } = await downloads()
      const auth = { username: 'me', password: secret }
      const jobs = [
        job(),
        job({ registry_auth: auth }),
        job({ registry_auth: { ...auth, password: 'other' } }),
      ]
      const brought = jobs.map(({ work }) => all.download(work))
      await vi.waitFor(() => expect(pulls).toHaveLength(3))
      jobs.forEach(({ stop }) => stop())
      await Promise.allSettled(brought)
    })

    it('goes on for the others when one is stopped, and ends with the last', async () => {
      const { all, pulls, ended, told } = await downloads()
      const [first, second] = [job(), job()]
      const brought = [all.download(first.work), all.download(second.work)]
      await told({ status: 'Pulling fs layer', id: 'a' })
      first.stop()
      await expect(brought[0]).rejects.toThrow('it was to end')
      await told({ status: 'Downloading', id: 'a' })
      await vi.waitFor(() => expect(second.seen.at(-1)!.phase).toBe('downloading'))
      expect(ended).not.toHaveBeenCalled()
      second.stop()
      await expect(brought[1]).rejects.toThrow('it was to end')
      await vi.waitFor(() => expect(ended).toHaveBeenCalledOnce())
      expect(pulls).toHaveLength(1)
    })

    it('begins anew for whoever asks when the last has just been stopped', async () => {
      const { all, pulls, told, end } = await downloads()
      const [first, second] = [job(), job()]
      const stopped = all.download(first.work)
      await told({ status: 'Pulling fs layer', id: 'a' })
      first.stop()
      const brought = all.download(second.work)
      await expect(stopped).rejects.toThrow('it was to end')
      await vi.waitFor(() => expect(pulls).toHaveLength(2))
      end()
      expect(await brought).toMatchObject({ already_there: false })
    })

    it('begins anew after one that failed', async () => {
      const { all, pulls, told, end } = await downloads()
      const failed = all.download(job().work)
      await told({ error: 'unexpected EOF' })
      await expect(failed).rejects.toThrow('did not pull an image: unexpected EOF')
      const brought = all.download(job().work)
      await vi.waitFor(() => expect(pulls).toHaveLength(2))
      end()
      await brought
    })
  })

  describe('where there is little room', () => {
    const little = (...free: number[]) => {
      let asked = 0
      return {
        policy: agentPolicy.parse({ disk: { min_free_mb: 100 } }),
        freeMb: async () => free[Math.min(asked++, free.length - 1)],
      }
    }

    it('refuses to begin, and says the limit and what there is', async () => {
      const { all, pulls } = await downloads(little(99))
      const refused = all.download(job().work)
      await expect(refused).rejects.toThrow(Rejected)
      await expect(refused).rejects.toThrow(
        /^no room for the image: 99 MB are free in .*, where the Engine keeps images; this agent's policy keeps 100 MB free \(disk.min_free_mb\)$/,
      )
      expect(pulls).toHaveLength(0)
    })

    it('ends when it knows that all of it does not fit', async () => {
      const { all, told, ended } = await downloads(little(150))
      const refused = all.download(job().work)
      await told({ status: 'Downloading', id: 'a', progressDetail: { current: 1, total: 60 * 1_048_576 } })
      await expect(refused).rejects.toThrow(Rejected)
      await expect(refused).rejects.toThrow('150 MB are free in')
      await expect(refused).rejects.toThrow('60 MB of the image are still to come')
      await vi.waitFor(() => expect(ended).toHaveBeenCalledOnce())
    })

    it('ends when others take the room meanwhile', async () => {
      vi.useFakeTimers({ toFake: ['setInterval'] })
      onTestFinished(() => void vi.useRealTimers())
      const { all, told } = await downloads(little(150, 90))
      const { work, seen } = job()
      const refused = all.download(work)
      await told({ status: 'Pulling fs layer', id: 'a' })
      await vi.waitFor(() => expect(seen.at(-1)!.phase).toBe('downloading'))
      vi.advanceTimersByTime(1_000)
      await expect(refused).rejects.toThrow('90 MB are free in')
    })

    it('goes on where nobody knows', async () => {
      const { all, pulls, end } = await downloads({ ...little(), freeMb: async () => undefined })
      const brought = all.download(job().work)
      await vi.waitFor(() => expect(pulls).toHaveLength(1))
      end()
      await brought
    })
  })

  describe('with credentials', () => {
    const withAuth = () => job({ registry_auth: { username: 'me', password: secret } })
    const echo = `${secret} ${Buffer.from(`me:${secret}`).toString('base64')}`

    it.each([
      [
        `unauthorized: ${echo}`,
        "the registry example.org refuses the executor's registry_auth: unauthorized: *** ***",
      ],
      [
        `manifest unknown: ${echo}`,
        'does not have example.org/team/one:2, or not for this registry_auth: manifest unknown',
      ],
      [`unexpected EOF ${echo}`, 'did not pull an image: unexpected EOF *** ***'],
    ])('says nothing of them, whatever the registry says: %s', async (said, words) => {
      const { all, told } = await downloads()
      const { work, log } = withAuth()
      const failed = all.download(work).catch((error: Error) => error)
      await told({ errorDetail: { message: said }, error: said })
      const error = (await failed) as Error
      expect(error.message).toContain(words)
      expect(error.cause).toBeUndefined()
      expect(JSON.stringify([error, error.stack, log])).not.toContain(secret)
    })

    it('says that it has none where they are asked for', async () => {
      const { all, told } = await downloads()
      const failed = all.download(job().work)
      await told({ error: 'no basic auth credentials' })
      await expect(failed).rejects.toThrow(
        'the registry example.org asks for credentials, and the executor has no registry_auth: no basic auth credentials',
      )
      await expect(failed).rejects.toThrow(Rejected)
    })
  })

  describe('isFresh', () => {
    const submitted = (at: number, settings: object = {}) => ({
      executor: job({ pull_policy: 'always', ...settings }).work.assignment.executor,
      submitted_at_ms: at,
    })

    it('is what was downloaded after the job was submitted, with the same credentials', async () => {
      let now = 0
      const { all, pulls, end } = await downloads({ now: () => now })
      expect(all.isFresh(submitted(0))).toBe(false)
      const brought = all.download(job({ pull_policy: 'always' }).work)
      await vi.waitFor(() => expect(pulls).toHaveLength(1))
      now = 1_000
      end()
      await brought
      expect([999, 1_000, 1_001].map((at) => all.isFresh(submitted(at)))).toEqual([true, true, false])
      expect(all.isFresh(submitted(999, { registry_auth: { username: 'me', password: secret } }))).toBe(false)
      expect(all.isFresh(submitted(999, { image: 'example.org/team/one:3' }))).toBe(false)
    })

    it('is none whose download failed', async () => {
      const { all, told } = await downloads()
      const failed = all.download(job().work)
      await told({ error: 'unexpected EOF' })
      await expect(failed).rejects.toThrow('unexpected EOF')
      expect(all.isFresh(submitted(0))).toBe(false)
    })
  })
})
