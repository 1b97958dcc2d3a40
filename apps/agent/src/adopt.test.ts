import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { keptAssignment } from '@errand/shared'
import type { Assignment } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Lost, NotStarted } from './backends/backend.ts'
import type { AdoptedRun, Backend } from './backends/backend.ts'
import { adoptFake } from './backends/fake/fake.ts'
import type { Claim } from './claim.ts'
import { monotonic } from './connection/monotonic.ts'
import type { Spool } from './spool/spool.ts'
import { assignment, startAgent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
})
afterEach(() => api.close())

const adopting: Partial<Backend> = { adopt: adoptFake }

/** A backend that says so of what it is to adopt. */
const failing = (error: Error): Partial<Backend> => ({
  async adopt() {
    throw error
  },
})

/** A job that an agent had started, and of which it had stored this much when it died. */
function left(
  job: Assignment,
  steps: object[],
  { stdout = '', deaths = 0, leaseSentAt = monotonic() } = {},
): (spool: Spool) => void {
  return (spool) => {
    spool.accept(job)
    spool.starting(job, startedAtMs, {
      assignment: keptAssignment.parse(job),
      slot: 0,
      prepareMs: 7,
      onOutputLimit: 'kill',
      backend: { steps: steps.map((one) => ('stdout' in one ? { times: 1, ...one } : one)) },
    })
    if (stdout !== '') spool.append(job, 'stdout', 0, Buffer.from(stdout))
    for (let death = 0; death < deaths; death++) spool.adopting(job)
    spool.keepLease(leaseSentAt)
  }
}
const startedAtMs = Date.now() - 5_000

describe('an agent that starts where another died', () => {
  it('goes on with what that had started, to one exact result', async () => {
    const job = assignment([])
    const told: (readonly Claim[])[] = []
    await using agent = startAgent(api, {
      slots: 1,
      backend: { ...adopting, recover: async (adopted) => void told.push(adopted) },
      left: left(job, [{ stdout: 'hello\nwor' }, { sleep_ms: 300 }, { stdout: 'ld\n' }, { exit: 3 }], {
        stdout: 'hello\n',
      }),
    })
    expect((await api.until(() => api.of('inventory')[0])).held).toEqual([
      { id: job.id, fence: job.fence, state: 'starting' },
    ])
    // its slot is taken
    expect(api.credits).toBe(0)
    const result = await api.result(job)
    expect(result).toMatchObject({ outcome: 'failed', exit_code: 3, text: 'hello\nworld\n', prepare_ms: 7 })
    expect(result.start_time_ms).toBe(startedAtMs)
    expect(result.end_time_ms).toBeGreaterThanOrEqual(startedAtMs + 5_000)
    expect(result.duration_sec).toBeCloseTo((result.end_time_ms! - startedAtMs) / 1_000, 6)
    expect(told).toMatchObject([[{ id: job.id, fence: job.fence }]])
    await api.until(() => api.credits === 1)
    await expect.poll(() => agent.spool.held()).toEqual([])
  })

  it('says that it runs, and ends it at a cancel', async () => {
    const job = assignment([])
    const steps = [{ stdout: 'x' }, { sleep_ms: 60_000 }]
    await using _ = startAgent(api, {
      backend: adopting,
      time: { runningAfterMs: 10 },
      left: left(job, steps, { stdout: 'x' }),
    })
    await api.until(() => api.of('started')[0]?.id === job.id)
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled', text: 'x', run_ms: null })
  })

  it('ends it, and says nothing of it, when it is no longer its own', async () => {
    const job = assignment([])
    api.verdictOf = () => ({ verdict: 'drop', cancel: false })
    await using agent = startAgent(api, {
      slots: 1,
      backend: adopting,
      left: left(job, [{ sleep_ms: 60_000 }], { stdout: '' }),
    })
    await api.until(() => api.credits === 1)
    expect(agent.spool.held()).toEqual([])
    expect(api.of('finish')).toEqual([])
  })

  it.each([
    ['other', 'hexlo\n', 'not what had come before'],
    ['less', 'hello\nworld\n and more', 'less is left'],
  ])('takes nothing for true when %s output is left than was stored', async (_what, stdout, words) => {
    const job = assignment([])
    const steps = [{ stdout: 'hello\nworld\n' }, { exit: 0 }]
    await using _ = startAgent(api, { backend: adopting, left: left(job, steps, { stdout }) })
    expect(await api.result(job)).toMatchObject({
      outcome: 'lost',
      text: stdout,
      error: expect.stringContaining(words),
    })
  })

  it('reports as lost, with what was stored, what its backend cannot prove', async () => {
    const job = assignment([])
    const backend = failing(new Lost('its container is gone'))
    await using _ = startAgent(api, { backend, left: left(job, [], { stdout: 'so far' }) })
    expect(await api.result(job)).toMatchObject({
      outcome: 'lost',
      text: 'so far',
      error: 'its container is gone',
      start_time_ms: startedAtMs,
    })
  })

  it('hands back what certainly never began', async () => {
    const job = assignment([])
    const backend = failing(new NotStarted('its files had not come whole'))
    await using agent = startAgent(api, { slots: 1, backend, left: left(job, []) })
    await api.until(() => api.credits === 1)
    expect(agent.spool.held()).toEqual([])
    expect(api.of('finish')).toEqual([])
  })

  it('ends what another agent may have begun by now, and what it comes back to too late', async () => {
    const again = assignment([], { attempts_left: true })
    const only = assignment([])
    const steps = [{ sleep_ms: 60_000 }]
    const backend: Partial<Backend> = adopting
    const both =
      (leaseSentAt: number) =>
      (spool: Spool): void =>
        [again, only].forEach((job) => left(job, steps, { leaseSentAt })(spool))
    api.away = true
    {
      await using agent = startAgent(api, { backend, left: both(monotonic() - 31_000) })
      await expect.poll(() => agent.spool.result(again)?.outcome).toBe('lost')
      expect(agent.spool.held().find(({ id }) => id === only.id)?.state).toBe('starting')
    }
    await using agent = startAgent(api, { backend, left: both(monotonic() - 181_000) })
    await expect.poll(() => agent.spool.result(only)?.outcome).toBe('lost')
  })

  it('does not go on with what it cannot survive, but with all else', async () => {
    const poison = assignment([])
    const victim = assignment([])
    const steps = [{ stdout: 'whole' }, { sleep_ms: 200 }, { exit: 0 }]
    const adopted: string[] = []
    const told: (readonly Claim[])[] = []
    await using agent = startAgent(api, {
      time: { adoptionProvedMs: 50 },
      backend: {
        adopt: (run: AdoptedRun) => {
          adopted.push(run.assignment.id)
          return adoptFake(run)
        },
        recover: async (claims) => void told.push(claims),
      },
      left: (spool) => {
        left(poison, steps, { stdout: 'wh', deaths: 5 })(spool)
        left(victim, steps, { deaths: 4 })(spool)
      },
    })
    expect(await api.result(poison)).toMatchObject({
      outcome: 'infra_error',
      text: 'wh',
      error: expect.stringContaining('died 5 times in a row'),
    })
    await expect.poll(() => agent.spool.held()).toMatchObject([{ id: victim.id, adoptions: 0 }])
    expect(await api.result(victim)).toMatchObject({ outcome: 'succeeded', text: 'whole' })
    expect(adopted).toEqual([victim.id])
    expect(told).toMatchObject([[{ id: victim.id }]])
  })
})

it('keeps no secret and no code on its disk', async () => {
  await using agent = startAgent(api, { backend: { ...adopting, type: 'docker' } })
  await api.until(() => api.credits > 0)
  const { executor, request, ...rest } = assignment([{ stdout: 'x' }, { sleep_ms: 60_000 }])
  const auth = (secret: string) => ({ username: 'user', password: secret })
  const index = { index_url: 'https://index.example.org/simple', index_auth: auth('secret-2') }
  const settings = { image: 'python', registry_auth: auth('secret-1'), ...index }
  const submission = { env: { TOKEN: 'secret-3' }, stdin: 'secret-4', args: ['secret-5'] }
  const job = {
    ...rest,
    executor: { ...executor, executor_type: 'docker' as const, settings },
    request: { ...(request as object), ...submission },
  }
  api.assign(job)
  await api.until(() => api.of('output').length > 0)
  expect(agent.spool.held()).toMatchObject([
    { run: { assignment: { id: job.id }, slot: expect.any(Number) } },
  ])
  const files = readdirSync(agent.agentDir).map((name) => join(agent.agentDir, name))
  const text = files.filter((path) => path.includes('spool')).map((path) => readFileSync(path, 'latin1'))
  expect(text.join()).toContain(job.id)
  expect(text.join()).not.toContain('secret-')
})
