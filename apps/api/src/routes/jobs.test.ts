import {
  type Job,
  type JobProgress,
  type JobSummary,
  type JobTypeInfo,
  type Page,
  job as jobSchema,
  jobSummary,
  jobTypeInfo,
} from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'
import { openUpkeep } from './test-upkeep.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

const list = async (query = '', key = test.keys.admin) =>
  (await (await test.request('GET', `/jobs${query}`, { key })).json()) as Page<JobSummary>
const ids = (page: Page<JobSummary>) => page.data.map(({ id }) => id)
const cancel = (id: string, key = test.keys.admin) => test.request('POST', `/jobs/${id}/cancel`, { key })
const failed = { outcome: 'infra_error', exit_code: null, error: 'the registry is away' } as const
const progress = (more: Partial<JobProgress> = {}): JobProgress => ({
  phase: 'downloading',
  bytes_done: 10,
  bytes_total: 40,
  percent: 20,
  bytes_per_sec: 5,
  ...more,
})
const brought = { digest: 'sha256:a', bytes: 40, already_there: false, took_ms: 7 }

describe('GET /jobs/{id}', () => {
  it('shows a job that is done by one agent after the other as one', async () => {
    const { download, job, given, agents } = await openUpkeep(test, 2)
    const { id, status, locked_by, parts } = await download()
    expect({ status, parts: parts.map((one) => one.agent) }).toEqual({
      status: 'locked',
      parts: agents.map(({ name }) => name),
    })
    expect(parts.map((one) => one.id)).toContain(locked_by)
    const [one, other] = [await given(0), await given(1)]
    await agents[0]!.progress(one, progress())
    expect((await job(id)).progress).toEqual({
      phase: 'resolving',
      bytes_done: 10,
      bytes_total: null,
      percent: null,
      bytes_per_sec: 5,
    })
    await agents[1]!.progress(other, progress({ phase: 'extracting', percent: 60, bytes_per_sec: null }))
    expect((await job(id)).progress).toEqual({
      phase: 'downloading',
      bytes_done: 20,
      bytes_total: 80,
      percent: 40,
      bytes_per_sec: 5,
    })
    for (const [n, assignment] of [one, other].entries())
      await agents[n]!.finish(assignment, { result: { brought } })
    const done = jobSchema.parse(await job(id))
    expect(done).toMatchObject({
      status: 'completed',
      outcome: 'succeeded',
      progress: { phase: 'done', bytes_done: 80, bytes_total: 80, percent: 100, bytes_per_sec: null },
      result: { ...brought, bytes: 80 },
      attempts: [],
    })
    expect(done.parts).toMatchObject([
      { agent_id: agents[0]!.agentId, outcome: 'succeeded', result: brought, progress: { phase: 'done' } },
      { agent_id: agents[1]!.agentId, outcome: 'succeeded' },
    ])
    for (const agent of agents) agent.leave()
  })

  it('keeps what each attempt ended with', async () => {
    const { download, job, given, agents } = await openUpkeep(test)
    const { id, parts } = await download({ retry: { max_attempts: 2 } })
    const part = parts[0]!.id
    await agents[0]!.finish(await given(), { result: failed })
    expect(await job(part)).toMatchObject({
      status: 'retrying',
      attempts: [{ attempt: 1, outcome: 'infra_error', error: failed.error, agent_id: agents[0]!.agentId }],
    })
    await test.parts.db.query("update jobs set status = 'waiting', not_before = null where id = $1", [part])
    await agents[0]!.finish(await given(), { result: { ...failed, error: 'still away' } })
    const ended = jobSchema.parse(await job(part))
    expect(ended.attempts).toMatchObject([
      { attempt: 1, error: failed.error },
      { attempt: 2, error: 'still away', ended_at: ended.ended_at },
    ])
    expect(await job(id)).toMatchObject({
      status: 'failed',
      outcome: 'infra_error',
      error: `${agents[0]!.name}: still away`,
      parts: [{ id: part, error: 'still away' }],
      attempts: [],
    })
    agents[0]!.leave()
  })

  it('shows executions to their project, and other jobs to every key', async () => {
    const { id } = await test.submit()
    const answer = await test.request('GET', `/jobs/${id}`, { key: test.keys.viewer })
    expect(jobSchema.parse(await answer.json())).toMatchObject({ id, type: 'code.execute', params: null })
    const { download, agents } = await openUpkeep(test)
    const job = await download()
    const statusFor = async (path: string) =>
      (await test.request('GET', path, { key: test.keys.stranger })).status
    expect(await statusFor(`/jobs/${id}`)).toBe(404)
    expect(await statusFor(`/jobs/${id}/logs`)).toBe(404)
    expect(await statusFor(`/jobs/${job.id}`)).toBe(200)
    expect(await statusFor(`/jobs/${job.id}/logs`)).toBe(200)
    agents[0]!.leave()
  })

  it('answers 404 to what is not there', async () => {
    for (const id of [crypto.randomUUID(), 'x', '%00']) {
      expect((await test.request('GET', `/jobs/${id}`)).status).toBe(404)
      expect((await cancel(id)).status).toBe(404)
    }
  })
})

describe('GET /jobs', () => {
  it('lists the newest first, page by page, and executions only for who asks', async () => {
    const { download, docker, agents } = await openUpkeep(test, 0)
    expect(agents).toEqual([])
    const made: string[] = []
    for (let n = 0; n < 5; n++) made.push((await download()).id)
    const execution = await test.submit({ executor: docker })
    const seen: string[] = []
    let next: string | null = `/jobs?executor=${docker}&limit=2&count=true`
    while (next !== null) {
      const answer = await test.request('GET', next)
      const page = (await answer.json()) as Page<JobSummary>
      expect(page.total).toBe(5)
      for (const one of page.data) expect(() => jobSummary.parse(one)).not.toThrow()
      seen.push(...ids(page))
      next = /^<(.*)>; rel="next"$/.exec(answer.headers.get('link') ?? '')?.[1] ?? null
    }
    expect(seen).toEqual(made.toReversed())
    expect(ids(await list(`?executor=${docker}&type=code.execute`))).toEqual([execution.id])
    const both = `?executor=${docker}&type=code.execute&type=docker_image:download`
    expect(ids(await list(both))).toEqual([execution.id, ...made.toReversed()])
    expect(ids(await list(both, test.keys.stranger))).toEqual(made.toReversed())
  })

  it('filters, and says for what they wait', async () => {
    const { download, given, agents, docker } = await openUpkeep(test, 2)
    const { id, parts } = await download()
    const of = async (query: string) => ids(await list(`?executor=${docker}&${query}`))
    const [first, second] = parts.map((part) => part.id)
    expect(await of(`agent_id=${agents[1]!.agentId}`)).toEqual([second])
    expect(await of('status=locked')).toEqual([id])
    expect(await of('type=runtime.install')).toEqual([])
    await agents[0]!.finish(await given(0), { result: { ...failed, outcome: 'rejected' } })
    expect(await of('outcome=rejected')).toEqual([first])
    expect(await of('status=waiting,assigned')).toEqual([second])
    const { data } = await list(`?executor=${docker}&status=waiting`)
    expect(data[0]!.waiting_reason).toContain(agents[1]!.name)
    for (const agent of agents) agent.leave()
  })

  it.each([
    ['?status=done', '?status'],
    ['?type=docker.pull', '?type'],
    ['?outcome=x', '?outcome'],
    ['?limit=0', '?limit'],
    ['?cursor=xxxx', '?cursor'],
    ['?agent_id=me', '?agent_id'],
    ['?executor=a%20b', '?executor'],
    ['?label=a', '?label'],
  ])('refuses %s', async (query, pointer) => {
    const answer = await test.request('GET', `/jobs${query}`)
    expect(answer.status).toBe(422)
    expect((await problemOf(answer)).errors![0]!.pointer).toBe(pointer)
  })
})

describe('POST /jobs/{id}/cancel', () => {
  it('ends what waits at once, and is repeatable', async () => {
    const { download } = await openUpkeep(test, 0)
    const { id } = await download()
    const answer = await cancel(id)
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({ id, status: 'canceled', outcome: 'canceled' })
    expect((await cancel(id)).status).toBe(200)
  })

  it('ends a locked job and with it the parts that nobody else wants, asking the agents that do them', async () => {
    const { download, job, given, agents } = await openUpkeep(test, 2)
    const { id, parts } = await download()
    const assigned = await given(0)
    const other = await download()
    expect(other.parts.map((part) => part.id)).toEqual(parts.map((part) => part.id))
    expect((await cancel(id)).status).toBe(202)
    expect(await job(id)).toMatchObject({ status: 'canceled' })
    // The other one still waits for them
    expect(await job(other.id)).toMatchObject({ status: 'locked' })
    const { fence } = assigned
    const asked = { type: 'cancel', id: assigned.id, fence }
    expect(agents[0]!.sent).not.toContainEqual(asked)
    await cancel(other.id)
    expect(agents[0]!.sent).toContainEqual(asked)
    expect((await job(other.id)).parts.map((part) => part.status)).toEqual(['canceling', 'canceled'])
    await agents[0]!.finish(assigned, { result: { outcome: 'canceled', exit_code: null } })
    expect((await job(assigned.id)).status).toBe('canceled')
    for (const agent of agents) agent.leave()
  })

  it('ends a part while it runs, and while it waits for another attempt', async () => {
    const { download, job, given, agents } = await openUpkeep(test)
    const running = await download()
    const assigned = await given()
    await agents[0]!.start(assigned)
    expect(await (await cancel(assigned.id)).json()).toMatchObject({ status: 'canceling' })
    // Also when it was asked before
    expect((await cancel(assigned.id)).status).toBe(202)
    await agents[0]!.finish(assigned, { result: { outcome: 'canceled', exit_code: null } })
    expect(await job(running.id)).toMatchObject({ status: 'canceled', outcome: 'canceled' })

    const retrying = await download()
    const again = await given()
    await agents[0]!.finish(again, { result: failed })
    expect((await job(again.id)).status).toBe('retrying')
    expect(await (await cancel(again.id)).json()).toMatchObject({
      status: 'canceled',
      attempts: [{ attempt: 1, outcome: 'infra_error' }],
    })
    expect(await job(retrying.id)).toMatchObject({ status: 'canceled' })
    agents[0]!.leave()
  })

  it('answers 409 to what has ended otherwise', async () => {
    const { download, given, agents } = await openUpkeep(test)
    const { id } = await download()
    await agents[0]!.finish(await given(), { result: { brought } })
    const answer = await cancel(id)
    expect(answer.status).toBe(409)
    expect(await problemOf(answer)).toMatchObject({ code: 'already_final' })
    agents[0]!.leave()
  })

  it('belongs to runners of its project, of a part that others want to admins', async () => {
    const { download, agents } = await openUpkeep(test)
    const own = await download({}, test.keys.runner)
    expect((await cancel(own.id, test.keys.viewer)).status).toBe(403)
    expect((await cancel(own.id, test.keys.stranger)).status).toBe(403)
    const part = own.parts[0]!.id
    const foreign = await download({}, test.keys.stranger)
    expect(foreign.parts[0]!.id).toBe(part)
    expect((await cancel(part, test.keys.runner)).status).toBe(403)
    expect((await cancel(own.id, test.keys.runner)).status).toBe(202)
    // Its project is that of who came first, and who still wants it is another
    expect((await cancel(part, test.keys.runner)).status).toBe(403)
    expect((await cancel(part, test.keys.stranger)).status).toBe(403)
    expect((await cancel(part)).status).toBe(202)
    const { status } = (await (await test.request('GET', `/jobs/${foreign.id}`)).json()) as Job
    expect(status).toBe('canceled')
    agents[0]!.leave()
  })

  it('cancels executions as their own route does', async () => {
    const { id } = await test.submit()
    expect((await cancel(id, test.keys.stranger)).status).toBe(404)
    const answer = await cancel(id, test.keys.runner)
    expect(jobSchema.parse(await answer.json())).toMatchObject({ id, status: 'canceled' })
    const record = await (await test.request('GET', `/executions/${id}`)).json()
    expect(record).toMatchObject({ status: 'canceled', outcome: 'canceled' })
  })

  it.each(['executions', 'jobs'])('lets go of what only a canceled execution wanted: /%s', async (route) => {
    const { local, given, agents, job } = await openUpkeep(test)
    const { id } = await test.submit({ executor: local, dependencies: ['six==1.17.0'] })
    const assigned = await given(0, 'run')
    await agents[0]!.lack(assigned, 'runtime.install', 'six==1.17.0 is not installed')
    const locked = await job(id)
    const reason = `six==1.17.0 is not installed; it waits for the job ${locked.locked_by}`
    expect(locked).toMatchObject({ status: 'locked', waiting_reason: reason })
    expect((await test.request('POST', `/${route}/${id}/cancel`)).status).toBe(202)
    expect(await job(locked.locked_by!)).toMatchObject({ type: 'runtime.install', status: 'canceled' })
    agents[0]!.leave()
  })
})

describe('/executions', () => {
  it('knows no other jobs', async () => {
    const { download, given, agents, job } = await openUpkeep(test)
    const { id } = await download()
    const assigned = await given()
    await agents[0]!.write(assigned, 'stdout', 0, new TextEncoder().encode('{}\n'))
    for (const one of [id, assigned.id]) {
      for (const path of ['', '/request', '/stdout', '/stderr', '/events'])
        expect({ path, status: (await test.request('GET', `/executions/${one}${path}`)).status }).toEqual({
          path,
          status: 404,
        })
      expect((await test.request('POST', `/executions/${one}/cancel`)).status).toBe(404)
    }
    expect((await job(assigned.id)).status).toBe('assigned')
    const { data } = (await (await test.request('GET', '/executions')).json()) as Page<{ id: string }>
    expect(data.map((one) => one.id)).not.toContain(id)
    agents[0]!.leave()
  })
})

describe('GET /job-types', () => {
  it('describes them, with the JSON schema of their params', async () => {
    const answer = await test.request('GET', '/job-types', { key: test.keys.viewer })
    const { data } = (await answer.json()) as Page<JobTypeInfo>
    for (const one of data) expect(() => jobTypeInfo.parse(one)).not.toThrow()
    expect(data.map(({ type }) => type)).toEqual(['code.execute', 'docker_image.download', 'runtime.install'])
    expect(data[1]).toMatchObject({
      aliases: ['docker_image:download'],
      params_schema: { type: 'object', required: ['code_executor'], additionalProperties: false },
    })
    expect(data[2]!.params_schema).toMatchObject({
      properties: { dependencies: { type: 'array', maxItems: 1_000 } },
    })
    expect((await test.request('GET', '/job-types?x=1')).status).toBe(422)
  })
})
