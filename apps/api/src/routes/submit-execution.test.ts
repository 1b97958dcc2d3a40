import { type ExecutionRecord, sizeLimits } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cancel } from '../store/cancel.ts'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

const valid = { executor: 'local_python', code: 'pass' }

describe.each(['pglite', 'postgres'] as const)('POST /executions on %s', (database) => {
  let test: TestApp
  beforeAll(async () => {
    test = await openTestApp(database)
  })
  afterAll(() => test?.close())

  const post = (body: unknown, headers: Record<string, string> = {}, query = '') =>
    test.request('POST', `/executions${query}`, { body, headers })

  async function stored(): Promise<number> {
    const [row] = await test.parts.db.query<{ n: number }>('select count(*)::int as n from jobs')
    return row!.n
  }

  it('answers 202 with the record so far, and where it is', async () => {
    const answer = await post({ ...valid, labels: { team: 'x' }, priority: 3 })
    expect(answer.status).toBe(202)
    expect(answer.headers.get('retry-after')).toBe('1')
    const record = (await answer.json()) as ExecutionRecord
    expect(answer.headers.get('location')).toBe(`/executions/${record.id}`)
    expect(record).toMatchObject({
      status: 'waiting',
      outcome: null,
      completed: false,
      name: 'local_python',
      executor_type: 'localhost',
      labels: { team: 'x' },
      priority: 3,
      limits: { timeout_sec: 30, output_limit_kb: 1024 },
    })
    const read = await (await test.request('GET', `/executions/${record.id}`)).json()
    // Why it waits is found out when it is read
    expect(read).toEqual({ ...record, waiting_reason: expect.any(String) })
  })

  describe('when the body is malformed', () => {
    const refused: [what: string, body: unknown, status: number, code: string, pointer: string][] = [
      ['nothing', '', 400, 'bad_json', ''],
      ['half of it', '{"executor":', 400, 'bad_json', ''],
      ['invalid UTF-8', new Uint8Array([0x22, 0xc3, 0x28, 0x22]), 400, 'bad_json', ''],
      ['too deep', '['.repeat(40), 400, 'bad_json', ''],
      ['too large', 'x'.repeat(sizeLimits.body + 1), 413, 'too_large', ''],
      ['an array', [valid], 422, 'validation_failed', ''],
      ['null', 'null', 422, 'validation_failed', ''],
      ['no executor', { code: 'pass' }, 422, 'validation_failed', '/executor'],
      ['no code', { executor: 'local_python' }, 422, 'validation_failed', '/code'],
      ['an unknown field', { ...valid, cod: 1 }, 422, 'validation_failed', '/cod'],
      ['an unknown limit', { ...valid, limits: { mem: 1 } }, 422, 'validation_failed', '/limits/mem'],
      ['__proto__', '{"__proto__":{},"executor":"a","code":""}', 422, 'validation_failed', '/__proto__'],
      [
        'constructor',
        { ...valid, labels: { constructor: 'x' } },
        422,
        'validation_failed',
        '/labels/constructor',
      ],
      [
        'an infinite number',
        '{"executor":"a","code":"","timeout_sec":1e400}',
        422,
        'validation_failed',
        '/timeout_sec',
      ],
      ['a lone surrogate', '{"executor":"a","code":"\\ud800"}', 422, 'validation_failed', '/code'],
      [
        'a climbing path',
        { executor: 'a', files: [{ path: '../x', content: '' }], entrypoint: '../x' },
        422,
        'validation_failed',
        '/files/0/path',
      ],
      ['a NUL in an argument', { ...valid, args: ['a\0'] }, 422, 'validation_failed', '/args/0'],
      ['a bad variable', { ...valid, env: { 'a b': '' } }, 422, 'validation_failed', '/env/a b'],
      ['a field to come', { ...valid, artifacts: ['*'] }, 422, 'not_available_yet', '/artifacts'],
      [
        'packages that are not allowed',
        { ...valid, dependencies: ['six==1.17.0'] },
        422,
        'validation_failed',
        '/dependencies',
      ],
      [
        'packages that are none',
        { ...valid, dependencies: [7] },
        422,
        'validation_failed',
        '/dependencies/0',
      ],
      [
        'a longer timeout than allowed',
        { ...valid, timeout_sec: 301 },
        422,
        'validation_failed',
        '/timeout_sec',
      ],
      [
        'more memory than allowed',
        { executor: 'docker_python', code: '', limits: { mem_limit_mb: 2048 } },
        422,
        'validation_failed',
        '/limits/mem_limit_mb',
      ],
      [
        'more output than allowed',
        { ...valid, limits: { output_limit_kb: 1025 } },
        422,
        'validation_failed',
        '/limits/output_limit_kb',
      ],
      ['an unknown executor', { ...valid, executor: 'nobody' }, 404, 'unknown_executor', '/executor'],
    ]

    it.each(refused)('refuses %s and stores nothing', async (_, body, status, code, pointer) => {
      const before = await stored()
      const answer = await post(body)
      const problem = await problemOf(answer)
      expect(problem).toMatchObject({ status, code })
      expect(answer.status).toBe(status)
      expect(problem.errors!.map((error) => error.pointer)).toContain(pointer)
      expect(await stored()).toBe(before)
    })

    it('answers with few reasons, however many there are', async () => {
      const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`${'k'.repeat(300)}${n}`, 1]))
      const text = await (await post({ ...valid, ...many })).text()
      expect(text.length).toBeLessThan(64 * 1024)
    })

    it('refuses other media types and encodings', async () => {
      expect((await post(valid, { 'content-type': 'text/plain' })).status).toBe(415)
      expect((await post(valid, { 'content-encoding': 'gzip' })).status).toBe(415)
    })

    it('names the executors there are, and what they allow', async () => {
      expect((await problemOf(await post({ ...valid, executor: 'nobody' }))).detail).toContain('local_python')
      const limits = { output_limit_kb: 9_999 }
      expect((await problemOf(await post({ ...valid, limits }))).errors![0]!.detail).toContain('1024')
    })

    it.each(['?wait=soon', '?wat=1', '?wait=1&wait=2'])('refuses the query %s', async (query) => {
      expect((await post(valid, {}, query)).status).toBe(422)
    })
  })

  it('takes packages where the executor allows them and its runtime can have them', async () => {
    const executor = {
      name: 'packages',
      executor_type: 'localhost',
      allow_dependencies: true,
      index_url: 'https://packages.example/simple',
    }
    await test.request('POST', '/executors', { body: executor })
    const body = { executor: 'packages', code: 'import six', dependencies: ['six==1.17.0'] }
    const { id } = await test.submit(body)
    const request = await (await test.request('GET', `/executions/${id}/request`)).json()
    expect(request).toMatchObject({ dependencies: ['six==1.17.0'] })
    const refused = await post({ ...body, runtime: 'bash' })
    expect(refused.status).toBe(422)
    expect(await problemOf(refused)).toMatchObject({ errors: [{ pointer: '/dependencies/0' }] })
    // Who names none asks for nothing
    expect((await post({ ...valid, dependencies: [] })).status).toBe(202)
  })

  describe('with an Idempotency-Key', () => {
    it('makes 50 submissions at once one execution', async () => {
      const key = crypto.randomUUID()
      const before = await stored()
      const answers = await Promise.all(
        Array.from({ length: 50 }, () => test.submit({}, { 'idempotency-key': key })),
      )
      expect(new Set(answers.map(({ id }) => id)).size).toBe(1)
      expect(await stored()).toBe(before + 1)
    })

    it('answers 409 to another body, however little it differs', async () => {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      await post(JSON.stringify(valid), headers)
      const answer = await post(`${JSON.stringify(valid)} `, headers)
      expect(answer.status).toBe(409)
      expect(await problemOf(answer)).toMatchObject({ code: 'idempotency_conflict' })
    })

    it('is answered as before when its executor has gone meanwhile', async () => {
      await test.request('POST', '/executors', { body: { name: 'fleeting', executor_type: 'localhost' } })
      const headers = { 'idempotency-key': crypto.randomUUID() }
      const body = { ...valid, executor: 'fleeting' }
      const first = (await (await post(body, headers)).json()) as ExecutionRecord
      await test.request('DELETE', '/executors/fleeting')
      const again = await post(body, headers)
      expect(again.status).toBe(202)
      expect(((await again.json()) as ExecutionRecord).id).toBe(first.id)
      expect((await post({ ...body, code: 'other' }, headers)).status).toBe(409)
      expect((await post(body)).status).toBe(404)
    })

    it('belongs to the key that used it', async () => {
      const headers = { 'idempotency-key': 'mine' }
      const own = await test.submit({}, headers)
      const other = await test.request('POST', '/executions', {
        body: valid,
        headers,
        key: test.keys.stranger,
      })
      expect(((await other.json()) as ExecutionRecord).id).not.toBe(own.id)
    })

    it.each(['', 'a b', 'x'.repeat(256), 'ü'])('refuses the key "%s"', async (key) => {
      expect((await post(valid, { 'idempotency-key': key })).status).toBe(400)
    })

    it('answers with the finished record when it is repeated', async () => {
      const headers = { 'idempotency-key': crypto.randomUUID(), prefer: 'wait=10' }
      const agent = await test.connectAgent(1)
      const first = post(valid, headers)
      await expect.poll(() => agent.assigned.length).toBe(1)
      await agent.finish(agent.assigned[0]!)
      const record = await (await first).json()
      const again = await post(valid, headers)
      expect(again.status).toBe(200)
      expect(await again.json()).toEqual(record)
      agent.leave()
    })
  })

  describe('with Prefer: wait', () => {
    it('answers 200 with the finished record', async () => {
      const agent = await test.connectAgent(1)
      const answer = post(valid, { prefer: 'wait=30' })
      await expect.poll(() => agent.assigned.length).toBe(1)
      const stdout = new TextEncoder().encode('hällo\n')
      await agent.finish(agent.assigned[0]!, { stdout })
      expect((await answer).status).toBe(200)
      expect((await answer).headers.get('preference-applied')).toBe('wait=30')
      expect(await (await answer).json()).toMatchObject({
        status: 'completed',
        outcome: 'succeeded',
        success: true,
        stdout: 'hällo\n',
        stdout_bytes: stdout.length,
        agent_id: agent.agentId,
      })
      agent.leave()
    })

    it('answers 202 when it takes longer, and says what it waits for', async () => {
      const agent = await test.connectAgent(1)
      const answer = await post({ executor: 'docker_python', code: '' }, { prefer: 'wait=0.05' })
      agent.leave()
      expect(answer.status).toBe(202)
      const reason = 'no agent that is online offers docker'
      expect(await answer.json()).toMatchObject({ status: 'waiting', waiting_reason: reason })
      expect(answer.headers.get('preference-applied')).toBe('wait=0.05')
      expect(answer.headers.get('retry-after')).toBe('1')
    })

    it('finds by its poll an end that was stored elsewhere', async () => {
      const answer = post(valid, { prefer: 'wait=30' })
      await expect.poll(() => test.parts.live.listeners).toBe(1)
      // Past this app, as another replica would
      const [row] = await test.parts.db.query<{ id: string }>(
        'select id from jobs order by created_at desc limit 1',
      )
      await cancel(test.parts.db, { id: row!.id, project: null })
      expect(await (await answer).json()).toMatchObject({ status: 'canceled' })
    })

    it('lets go of everything when its caller leaves', async () => {
      const aborter = new AbortController()
      const answer = test.request('POST', '/executions', {
        body: valid,
        headers: { prefer: 'wait=60' },
        signal: aborter.signal,
      })
      await expect.poll(() => test.parts.live.listeners).toBe(1)
      aborter.abort()
      await answer.catch(() => {})
      await expect.poll(() => test.parts.live.listeners).toBe(0)
    })
  })
})
