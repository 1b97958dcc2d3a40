import { keptAssignment } from '@errand/shared'
import type { Assignment } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AdoptedRun, Backend, RunEnd } from './backends/backend.ts'
import { monotonic } from './connection/monotonic.ts'
import type { Spool } from './spool/spool.ts'
import { assignment, startAgent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
let job: Assignment
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
  job = assignment([], { submission: { env: { TOKEN: 'secret' } } })
  api.assign(job)
})
afterEach(() => api.close())

/** What goes on where an assignment leads to; it says which it was. */
const asking: Partial<Backend> = {
  async adopt(run: AdoptedRun): Promise<RunEnd> {
    const { request } = await run.assignmentAgain()
    run.output('stdout', Buffer.from(JSON.stringify(request)))
    if (run.signal.aborted) return { ...ended, exit_code: null, signal: 'SIGKILL' }
    run.starting('run', 30_000)
    return ended
  },
}
const ended: RunEnd = {
  phase: 'run',
  exit_code: 0,
  signal: null,
  out_of_memory: false,
  killed_for: null,
  error: null,
  runtime_id: null,
  container_id: null,
  usage: null,
  isolation: null,
  compile: null,
}

const start = (given: Parameters<typeof startAgent>[1] = {}) =>
  startAgent(api, { backend: asking, left, ...given })

/** The job that its agent had started when it died. */
function left(spool: Spool): void {
  spool.accept(job)
  const kept = { slot: 0, prepareMs: 1, onOutputLimit: 'kill', backend: {} } as const
  spool.starting(job, Date.now(), { ...kept, assignment: keptAssignment.parse(job) })
  spool.keepLease(monotonic())
}

/** The API does nothing of this. */
const ignore = (type: string): void => {
  api.interfere = (message) => message.type === type
}

describe('an agent that has to ask for an assignment again', () => {
  it('goes on with it as it was sent, however often the answer is lost, and comes twice', async () => {
    let asked = 0
    api.interfere = (message, _, socket) => {
      if (message.type !== 'reassign' || ++asked === 3) return false
      // In the middle of a session, or before anything else is said in it.
      setTimeout(() => socket.terminate(), asked === 1 ? 100 : 0)
      return true
    }
    await using agent = start()
    const { outcome, text } = await api.result(job)
    expect(outcome).toBe('succeeded')
    expect(JSON.parse(text)).toEqual(job.request)
    expect(api.of('reassign').map(({ id, fence }) => [id, fence])).toEqual(
      Array.from({ length: 3 }, () => [job.id, job.fence]),
    )
    api.say({ type: 'reassigned', id: job.id, fence: job.fence, job })
    api.say({ type: 'reassigned', id: job.id, fence: job.fence, job: null })
    await expect.poll(() => agent.spool.held()).toEqual([])
    await api.until(() => api.credits === 2)
    expect(api.of('finish')).toHaveLength(1)
  })

  it.each([
    ['nothing', null, /the API told the one after it nothing more/],
    [
      'what its policy forbids',
      { timeout_sec: 60, output_limit_kb: 1 },
      /above the 45 of this agent's policy/,
    ],
    ['what it does not understand', { timeout_sec: 'long' }, /the API told the one after it nothing more/],
  ])('reports it lost when it is told %s', async (...[, limits, words]) => {
    ignore('reassign')
    await using _ = start({ policy: { max_timeout_sec: 45 } })
    await api.until(() => api.of('reassign').length === 1)
    const again = limits && ({ ...job, limits } as Assignment)
    api.say({ type: 'reassigned', id: job.id, fence: job.fence, job: again })
    expect(await api.result(job)).toMatchObject({
      outcome: 'lost',
      error: expect.stringMatching(words),
    })
  })

  it('ends it by what it is told, when it is canceled before the answer', async () => {
    ignore('reassign')
    await using _ = start()
    await api.until(() => api.of('reassign').length === 1)
    api.say({ type: 'cancel', id: job.id, fence: job.fence })
    api.say({ type: 'reassigned', id: job.id, fence: job.fence, job })
    expect(await api.result(job)).toMatchObject({ outcome: 'canceled', signal: 'SIGKILL' })
  })

  it('asks for nothing that is no longer its own', async () => {
    api.verdictOf = () => ({ verdict: 'drop', cancel: false })
    await using agent = start({ slots: 1 })
    await api.until(() => api.credits === 1)
    expect(agent.spool.held()).toEqual([])
    expect(api.of('reassign')).toEqual([])
  })

  it('holds on to it while the API is away, and ends it when that is too long or when it is stopped', async () => {
    api.away = true
    {
      await using agent = start({ time: { lostAfterMs: 200 } })
      await expect.poll(() => agent.spool.result(job)?.outcome).toBe('lost')
    }
    const agent = start()
    const isOver = agent[Symbol.asyncDispose]
    expect(agent.spool.held()).toMatchObject([{ id: job.id, state: 'starting' }])
    await isOver()
  })
})
