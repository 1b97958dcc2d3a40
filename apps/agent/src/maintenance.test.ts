import { maintenanceDefaults } from '@errand/shared'
import type { Assignment, JobLogLine, JobProgress } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Missing } from './backends/backend.ts'
import { assignment, startAgent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
})
afterEach(() => api.close())

const hello = [{ stdout: 'hello\n' }, { exit: 0 }]
const withPackages = (dependencies: string[], more: Partial<Assignment> = {}) =>
  assignment(hello, { submission: { dependencies }, ...more })

/** What installs the same for the fake backend. */
const installation = (dependencies: string[], more: Partial<Assignment> = {}) =>
  assignment([], {
    type: 'runtime.install',
    slot_class: 'maintenance',
    request: { code_executor: 'local', runtime: 'python', dependencies },
    limits: { timeout_sec: maintenanceDefaults.timeout_sec, output_limit_kb: 256 },
    ...more,
  })

const linesOf = (text: string): JobLogLine[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JobLogLine)

describe('a job that lacks what it needs', () => {
  it('is handed back unstarted with what it needs, and its slot is free at once', async () => {
    await using agent = startAgent(api, { slots: 1 })
    await api.until(() => api.credits > 0)
    const job = api.assign(withPackages(['six==1.17.0']))
    expect(await api.until(() => api.of('lock')[0])).toMatchObject({
      id: job.id,
      fence: job.fence,
      need: 'runtime.install',
      reason: 'six==1.17.0 is not installed',
    })
    await api.until(() => api.credits === 1)
    expect(agent.spool.held()).toEqual([])
    expect(await api.result(api.assign(assignment(hello)))).toMatchObject({ text: 'hello\n' })
  })

  it('runs under its next claim, once that was brought', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(withPackages(['six==1.17.0']))
    await api.until(() => api.of('lock').length > 0)
    expect(await api.result(api.assign(installation(['six==1.17.0'])))).toMatchObject({
      outcome: 'succeeded',
    })
    expect(await api.result(api.assign({ ...job, fence: job.fence + 1 }))).toMatchObject({ text: 'hello\n' })
  })

  it('is held no more when the link is lost with the message: the next inventory gives it back', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = withPackages(['six==1.17.0'])
    api.interfere = (message, _payload, socket) => {
      if (message.type === 'lock') socket.terminate()
      return message.type === 'lock'
    }
    api.assign(job)
    expect((await api.until(() => api.of('inventory')[1])).held).toEqual([])
    await api.until(() => api.credits > 0)
    // The API sends a claim anew that it believes was lost: it is not taken a second time.
    api.interfere = () => false
    api.say({ type: 'assign', job })
    api.assign({ ...job, fence: job.fence + 1 })
    expect(await api.until(() => api.of('lock')[1])).toMatchObject({ fence: job.fence + 1 })
  })

  it('is given back also when nobody could be told, as the inventory had just been made', async () => {
    const lacking = Promise.withResolvers<never>()
    await using agent = startAgent(api, { backend: { run: () => lacking.promise } })
    await api.until(() => api.credits > 0)
    const { id, fence } = api.assign(assignment(hello))
    await vi.waitFor(() => expect(agent.spool.held()).toHaveLength(1))
    api.interfere = (message) => message.type === 'inventory'
    api.socket?.terminate()
    expect((await api.until(() => api.of('inventory')[1])).held).toMatchObject([{ id, state: 'accepted' }])
    lacking.reject(new Missing('docker_image.download', 'no image'))
    await vi.waitFor(() => expect(agent.spool.held()).toEqual([]))
    const offsets = { stdout: 0, stderr: 0 }
    api.say({ type: 'reconciled', jobs: [{ id, fence, verdict: 'keep', cancel: false, offsets }] })
    expect(await api.until(() => api.of('return')[0])).toMatchObject({ id, fence })
    expect(api.of('lock')).toEqual([])
  })

  it('fails where its backend found that out only once it had started', async () => {
    await using _ = startAgent(api, {
      backend: {
        run: (run) => {
          run.starting('run', 1_000)
          throw new Missing('docker_image.download', 'no image')
        },
      },
    })
    await api.until(() => api.credits > 0)
    const result = await api.result(api.assign(assignment(hello)))
    expect(result).toMatchObject({ outcome: 'infra_error', error: 'no image' })
    expect(api.of('lock')).toEqual([])
  })

  it('is canceled when that came first', async () => {
    let tell: (error: Error) => void
    const lacking = new Promise<never>((_, reject) => (tell = reject))
    await using _ = startAgent(api, { backend: { run: () => lacking } })
    await api.until(() => api.credits > 0)
    const job = api.assign(assignment(hello))
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    // Worked off before: it is answered in order.
    api.socket?.ping()
    await new Promise((resolve) => api.socket?.once('pong', resolve))
    tell!(new Missing('docker_image.download', 'no image'))
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled' })
    expect(api.of('lock')).toEqual([])
  })
})

describe('a maintenance job', () => {
  it('takes no slot of executions', async () => {
    await using _ = startAgent(api, { slots: 1 })
    await api.until(() => api.credits > 0)
    const long = api.assign(assignment([{ sleep_ms: 60_000 }]))
    expect(await api.result(api.assign(installation(['six==1.17.0'])))).toMatchObject({
      outcome: 'succeeded',
    })
    api.say({ type: 'cancel', id: long.id, fence: long.fence })
    await api.result(long)
  })

  it('tells what it brought, its progress, and its log as lines with time and level', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = api.assign(installation(['six==1.17.0', 'pip==25.0']))
    const result = await api.result(job)
    expect(result).toMatchObject({
      outcome: 'succeeded',
      exit_code: 0,
      brought: { bytes: 1, already_there: false },
    })
    expect(linesOf(result.text).map(({ level, message }) => [level, message])).toEqual([
      ['info', 'installing pip==25.0'],
      ['info', 'installing six==1.17.0'],
      ['info', 'done in 0.0 s'],
    ])
    expect(Date.parse(linesOf(result.text)[0]!.time)).toBeCloseTo(Date.now(), -5)
    const told = { id: job.id, progress: { phase: 'installing' } }
    expect(api.of('progress')).toMatchObject([told, told])
  })

  it('tells the last of its progress, however short it was', async () => {
    const progress = (percent: number): JobProgress => ({
      phase: percent === 100 ? 'done' : 'installing',
      bytes_done: percent,
      bytes_total: 100,
      percent,
      bytes_per_sec: null,
    })
    await using _ = startAgent(api, {
      backend: {
        install: (work) => {
          work.starting()
          for (const percent of [0, 50, 100]) work.progress(progress(percent))
          return Promise.resolve({ digest: null, bytes: 1, already_there: false, took_ms: 1 })
        },
      },
    })
    await api.until(() => api.credits > 0)
    await api.result(api.assign(installation([])))
    expect(api.of('progress').map((one) => one.progress)).toEqual([progress(0), progress(100)])
  })

  it.each([
    ['fails by our fault', 'fail', 'infra_error', 'it failed'],
    ['is refused', 'refuse', 'rejected', 'it is refused'],
  ])('that %s says why, in its log too', async (_how, dependency, outcome, error) => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const result = await api.result(api.assign(installation([dependency])))
    expect(result).toMatchObject({ outcome, error, brought: null })
    expect(linesOf(result.text).at(-1)).toMatchObject({ level: 'error', message: error })
  })

  it('ends at its time limit and at a cancel', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const slow = installation(['sleep-60000'], { limits: { timeout_sec: 0.2, output_limit_kb: 256 } })
    expect(await api.result(api.assign(slow))).toMatchObject({ outcome: 'timed_out' })
    const canceled = api.assign(installation(['sleep-60001']))
    await api.until(() => api.of('progress').some(({ id }) => id === canceled.id))
    api.say({ type: 'cancel', id: canceled.id, fence: canceled.fence })
    expect(await api.result(canceled)).toMatchObject({ outcome: 'canceled' })
  })

  it('of a type that its backend does not know fails in words', async () => {
    await using _ = startAgent(api)
    await api.until(() => api.credits > 0)
    const job = installation([], { type: 'docker_image.download' })
    expect(await api.result(api.assign(job))).toMatchObject({
      outcome: 'infra_error',
      error: expect.stringContaining('docker_image.download'),
    })
  })
})

describe('what lies on the host', () => {
  it('is tidied again and again, whether that works or not', async () => {
    let times = 0
    const tidy = () => (++times < 3 ? Promise.reject(new Error('not now')) : Promise.resolve())
    await using _ = startAgent(api, { backend: { tidy }, time: { tidyEveryMs: 20 } })
    await expect.poll(() => times).toBeGreaterThan(3)
    expect(await api.result(api.assign(assignment(hello)))).toMatchObject({ text: 'hello\n' })
  })

  it('is told at each connect and after changes, of which many in a row are told once', async () => {
    const stock = { images: [], sets: [], disk: [{ path: '/', total_bytes: 2, free_bytes: 1 }] }
    await using agent = startAgent(api, {
      backend: { stock: () => Promise.resolve(stock) },
      time: { pollEveryMs: 30 },
    })
    expect((await api.until(() => api.of('stock')[0])).stock).toEqual(stock)
    for (let n = 0; n < 100; n++) agent.agent.stockChanged()
    await api.until(() => api.of('stock')[1])
    api.socket?.terminate()
    await api.until(() => api.of('stock')[2])
    expect(api.of('stock')).toHaveLength(3)
  })
})
