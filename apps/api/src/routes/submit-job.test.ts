import { type ExecutionRecord, type Job, job as jobSchema, maintenanceDefaults } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Unavailable } from '../store/database.ts'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

describe.each(['pglite', 'postgres'] as const)('POST /jobs on %s', (database) => {
  let test: TestApp
  beforeAll(async () => {
    test = await openTestApp(database)
    const packages = { allow_dependencies: true, index_url: 'https://packages.example/simple' }
    for (const executor of [
      { name: 'packages', executor_type: 'localhost', ...packages },
      {
        name: 'own_packages',
        executor_type: 'localhost',
        ...packages,
        allow_dependencies: false,
        dependencies: ['six==1.17.0'],
      },
      {
        name: 'own_node',
        executor_type: 'localhost',
        ...packages,
        runtime: 'node',
        dependencies: ['left-pad@1.3.0'],
      },
      { name: 'never', executor_type: 'docker', image: 'x', pull_policy: 'never' },
      { name: 'resting', executor_type: 'docker', image: 'x', enabled: false },
    ])
      await test.request('POST', '/executors', { body: executor })
  })
  afterAll(() => test?.close())

  const download = { type: 'docker_image.download', params: { code_executor: 'docker_python' } }
  const post = (body: unknown, headers: Record<string, string> = {}, key = test.keys.admin) =>
    test.request('POST', '/jobs', { body, headers, key })
  const posted = async (body: unknown, headers: Record<string, string> = {}) =>
    (await (await post(body, headers)).json()) as Job

  async function stored(): Promise<number> {
    const [row] = await test.parts.db.query<{ n: number }>(
      'select (select count(*) from jobs)::int + (select count(*) from maintenance_jobs)::int as n',
    )
    return row!.n
  }

  it('answers 202 with the job, and where it is', async () => {
    const answer = await post(download)
    expect(answer.status).toBe(202)
    expect(answer.headers.get('retry-after')).toBe('1')
    const job = jobSchema.parse(await answer.json())
    expect(answer.headers.get('location')).toBe(`/jobs/${job.id}`)
    expect(job).toMatchObject({
      type: 'docker_image.download',
      status: 'waiting',
      outcome: null,
      code_executor: 'docker_python',
      executor_type: 'docker',
      params: { code_executor: 'docker_python' },
      ...maintenanceDefaults,
      attempts: [],
      parts: [],
      progress: null,
      result: null,
    })
    expect(job.waiting_reason).toContain('no agent')
    expect(await (await test.request('GET', `/jobs/${job.id}`)).json()).toEqual(job)
  })

  it('takes the older spelling, and what its caller wants otherwise', async () => {
    const more = { timeout_sec: 60, retry: { max_attempts: 1 } }
    expect(await posted({ ...download, ...more, type: 'docker_image:download' })).toMatchObject({
      type: 'docker_image.download',
      timeout_sec: 60,
      max_attempts: 1,
    })
  })

  it('shows the params of an installation as they were understood', async () => {
    const params = {
      code_executor: 'packages',
      dependencies: ['six==1.17.0', 'attrs==25.3.0', 'six==1.17.0'],
    }
    expect(await posted({ type: 'runtime.install', params })).toMatchObject({
      params: {
        code_executor: 'packages',
        runtime: 'python',
        dependencies: ['attrs==25.3.0', 'six==1.17.0'],
      },
    })
    // Also where callers may name nothing: what it names itself
    const own = { type: 'runtime.install', params: { code_executor: 'own_packages' } }
    expect(await posted(own)).toMatchObject({ status: 'waiting', params: { dependencies: [] } })
  })

  it('takes an execution with the body of POST /executions as params', async () => {
    const answer = await post({ type: 'code.execute', params: { executor: 'local_python', code: 'pass' } })
    expect(answer.status).toBe(202)
    const job = jobSchema.parse(await answer.json())
    expect(answer.headers.get('location')).toBe(`/jobs/${job.id}`)
    expect(job).toMatchObject({ type: 'code.execute', params: null, timeout_sec: 30, max_attempts: 1 })
    const record = (await (await test.request('GET', `/executions/${job.id}`)).json()) as ExecutionRecord
    expect(record).toMatchObject({ id: job.id, name: 'local_python', status: 'waiting' })
  })

  const install = (more: object) => ({
    type: 'runtime.install',
    params: { code_executor: 'packages', ...more },
  })
  const execute = (more: object) => ({
    type: 'code.execute',
    params: { executor: 'local_python', code: '', ...more },
  })
  const refused: [what: string, body: unknown, status: number, code: string, pointer: string][] = [
    ['nothing', '', 400, 'bad_json', ''],
    ['no object', [], 422, 'validation_failed', ''],
    ['no type', { params: {} }, 422, 'validation_failed', '/type'],
    ['an unknown type', { type: 'docker.pull' }, 422, 'validation_failed', '/type'],
    ['a type of the prototype', { type: 'toString' }, 422, 'validation_failed', '/type'],
    ['an unknown field', { ...download, priority: 1 }, 422, 'validation_failed', '/priority'],
    ['no params', { type: 'docker_image.download' }, 422, 'validation_failed', '/params/code_executor'],
    ['params that are none', { ...download, params: [] }, 422, 'validation_failed', '/params'],
    [
      'an unknown param',
      { ...download, params: { ...download.params, tag: 'x' } },
      422,
      'validation_failed',
      '/params/tag',
    ],
    [
      'an unknown executor',
      { ...download, params: { code_executor: 'nobody' } },
      404,
      'unknown_executor',
      '/params/code_executor',
    ],
    [
      'a disabled executor',
      { ...download, params: { code_executor: 'resting' } },
      422,
      'validation_failed',
      '/params/code_executor',
    ],
    [
      'one without an image',
      { ...download, params: { code_executor: 'local_python' } },
      422,
      'validation_failed',
      '/params/code_executor',
    ],
    [
      'one that never pulls',
      { ...download, params: { code_executor: 'never' } },
      422,
      'validation_failed',
      '/params/code_executor',
    ],
    ['no time', { ...download, timeout_sec: 0 }, 422, 'validation_failed', '/timeout_sec'],
    [
      'too many attempts',
      { ...download, retry: { max_attempts: 11 } },
      422,
      'validation_failed',
      '/retry/max_attempts',
    ],
    [
      'a key that is none',
      { ...download, idempotency_key: 'a b' },
      422,
      'validation_failed',
      '/idempotency_key',
    ],
    ['nothing to install', install({}), 422, 'validation_failed', '/params/dependencies'],
    [
      'packages that are none',
      install({ dependencies: ['a', 7] }),
      422,
      'validation_failed',
      '/params/dependencies/1',
    ],
    [
      'packages for a runtime without',
      install({ runtime: 'bash', dependencies: ['six==1.17.0'] }),
      422,
      'validation_failed',
      '/params/dependencies/0',
    ],
    [
      'packages by their address',
      install({ dependencies: ['six', 'six @ https://elsewhere.example/six.whl'] }),
      422,
      'validation_failed',
      '/params/dependencies/1',
    ],
    [
      'another version than the executor has',
      install({ code_executor: 'own_node', dependencies: ['left-pad@1.2.0'] }),
      422,
      'validation_failed',
      '/params/dependencies/0',
    ],
    [
      'packages that are not allowed',
      install({ code_executor: 'own_packages', dependencies: ['a'] }),
      422,
      'validation_failed',
      '/params/dependencies',
    ],
    [
      'an execution without code',
      { type: 'code.execute', params: { executor: 'local_python' } },
      422,
      'validation_failed',
      '/params/code',
    ],
    [
      'an execution with more than is allowed',
      execute({ limits: { output_limit_kb: 9_999 } }),
      422,
      'validation_failed',
      '/params/limits/output_limit_kb',
    ],
    ['an execution on nothing', execute({ executor: 'nobody' }), 404, 'unknown_executor', '/params/executor'],
    [
      'an execution that asks for what is to come',
      execute({ artifacts: ['*'] }),
      422,
      'not_available_yet',
      '/params/artifacts',
    ],
    [
      'an execution with its time outside',
      { ...execute({}), timeout_sec: 5 },
      422,
      'validation_failed',
      '/timeout_sec',
    ],
    [
      'an execution with its retries outside',
      { ...execute({}), retry: { max_attempts: 2 } },
      422,
      'validation_failed',
      '/retry',
    ],
  ]

  it.each(refused)('refuses %s and stores nothing', async (_, body, status, code, pointer) => {
    const before = await stored()
    const answer = await post(body)
    const problem = await problemOf(answer)
    expect(problem).toMatchObject({ status, code })
    expect(problem.errors!.map((error) => error.pointer)).toContain(pointer)
    expect(await stored()).toBe(before)
  })

  it('names the types and the executors there are', async () => {
    expect((await problemOf(await post({ type: 'x' }))).errors![0]!.detail).toContain('docker_image.download')
    const unknown = await problemOf(await post({ ...download, params: { code_executor: 'nobody' } }))
    expect(unknown.detail).toContain('docker_python')
  })

  it('refuses viewers, other media types and queries', async () => {
    expect((await post(download, {}, test.keys.viewer)).status).toBe(403)
    expect((await post(download, { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await test.request('POST', '/jobs?wait=1', { body: download })).status).toBe(422)
  })

  describe('with an idempotency key', () => {
    const keyed = () => ({ ...download, idempotency_key: crypto.randomUUID() })

    it('makes 20 at once one job', async () => {
      const body = keyed()
      const before = await stored()
      const jobs = await Promise.all(Array.from({ length: 20 }, () => posted(body)))
      expect(new Set(jobs.map(({ id }) => id)).size).toBe(1)
      expect(await stored()).toBe(before + 2)
    })

    it('takes it from the body as from the header, but no two', async () => {
      const body = keyed()
      const { id } = await posted(body)
      expect((await posted(body, { 'idempotency-key': body.idempotency_key })).id).toBe(id)
      const both = await post(body, { 'idempotency-key': 'another' })
      expect(both.status).toBe(422)
      expect((await problemOf(both)).errors![0]!.pointer).toBe('/idempotency_key')
    })

    it('answers 409 to another body, also to one of an execution', async () => {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      await post(download, headers)
      expect((await post({ ...download, timeout_sec: 9 }, headers)).status).toBe(409)
      const execution = { body: { executor: 'local_python', code: '' }, headers }
      expect((await test.request('POST', '/executions', execution)).status).toBe(409)
    })

    it('is answered as before when its executor has gone meanwhile', async () => {
      await test.request('POST', '/executors', {
        body: { name: 'fleeting', executor_type: 'docker', image: 'x' },
      })
      const body = { ...keyed(), params: { code_executor: 'fleeting' } }
      const { id } = await posted(body)
      await test.request('DELETE', '/executors/fleeting')
      expect((await posted(body)).id).toBe(id)
      expect((await post({ ...body, timeout_sec: 9 })).status).toBe(409)
      expect((await post({ ...body, idempotency_key: undefined })).status).toBe(404)
    })

    it('makes executions the same, too', async () => {
      const body = { ...execute({}), idempotency_key: crypto.randomUUID() }
      expect((await posted(body)).id).toBe((await posted(body)).id)
    })
  })

  it('is no error when the database goes away after the commit', async () => {
    const { db } = test.parts
    const query = db.query.bind(db)
    let isStored = false
    const broken = vi.spyOn(db, 'query').mockImplementation(async (text, params) => {
      if (isStored) throw new Unavailable(new Error('gone'))
      const rows = await query<never>(text, params)
      isStored = text.includes('insert into maintenance_jobs')
      return rows
    })
    const answer = await post(download)
    broken.mockRestore()
    expect(answer.status).toBe(202)
    const { id } = (await answer.json()) as Job
    expect(await (await test.request('GET', `/jobs/${id}`)).json()).toMatchObject({ id, status: 'waiting' })
  })
})
