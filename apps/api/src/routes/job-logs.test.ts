import {
  type Assignment,
  type Job,
  type JobEvents,
  type JobLogLine,
  type Page,
  isFinal,
  jobLogLine,
} from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cancel } from '../store/cancel.ts'
import { openTestApp, type TestApp } from './test-app.ts'
import { isEnd, readEvents, type ServerSentEvent } from './test-event-reader.ts'
import { logText, openUpkeep, type TestAgent } from './test-upkeep.ts'

const failed = { outcome: 'infra_error', exit_code: null, error: 'the registry is away' } as const
const messages = (lines: readonly JobLogLine[]) => lines.map(({ message }) => message)
const at = (second: number) => new Date(Date.UTC(2031, 0, 1, 0, 0, second)).toISOString()
const encoder = new TextEncoder()

describe.each(['pglite', 'postgres'] as const)('GET /jobs/{id}/logs on %s', (database) => {
  let test: TestApp
  beforeAll(async () => {
    test = await openTestApp(database)
  })
  afterAll(() => test?.close())

  async function page(id: string, query = ''): Promise<{ answer: Response; page: Page<JobLogLine> }> {
    const answer = await test.request('GET', `/jobs/${id}/logs${query}`)
    const body = (await answer.json()) as Page<JobLogLine>
    for (const line of body.data) jobLogLine.parse(line)
    return { answer, page: body }
  }

  /** All that there is now, in pages of `limit`. */
  async function all(id: string, limit = 200): Promise<JobLogLine[]> {
    const lines: JobLogLine[] = []
    let query = ''
    for (;;) {
      const { data, next_cursor } = (await page(id, `?limit=${limit}${query}`)).page
      lines.push(...data)
      if (next_cursor === null || data.length < limit) return lines
      query = `&cursor=${next_cursor}`
    }
  }

  const write = (agent: TestAgent, job: Assignment, offset: number, bytes: Uint8Array) =>
    agent.write(job, 'stdout', offset, bytes)

  async function retriedNow(id: string): Promise<void> {
    await test.parts.db.query("update jobs set status = 'waiting', not_before = null where id = $1", [id])
  }

  it('goes on with each cursor where the last page ended, while the log grows', async () => {
    const { download, given, agents } = await openUpkeep(test)
    const { id, parts } = await download()
    const part = parts[0]!.id
    const first = await page(id)
    expect(first.page.data).toMatchObject([
      { level: 'info', message: expect.stringContaining('submitted'), attempt: 0, job_id: id },
    ])
    expect(first.answer.headers.get('retry-after')).toBe('1')
    const assigned = await given()
    const text = logText(
      { time: at(1), message: 'one' },
      { time: at(2), message: 'two', level: 'warn' },
      { time: at(3), message: 'three' },
    )
    const second = await page(id, `?cursor=${first.page.next_cursor}`)
    expect(messages(second.page.data)).toEqual([`assigned to agent ${agents[0]!.name}`])
    // Cut in the middle of a line: the rest comes later
    await write(agents[0]!, assigned, 0, text.subarray(0, text.length - 20))
    const third = await page(id, `?cursor=${second.page.next_cursor}&limit=1`)
    expect(third.page.data).toEqual([
      { time: at(1), level: 'info', message: 'one', attempt: 1, job_id: part },
    ])
    expect(third.answer.headers.get('retry-after')).toBeNull()
    const link = /^<(.*)>; rel="next"$/.exec(third.answer.headers.get('link')!)![1]!
    const fourth = (await (await test.request('GET', link)).json()) as Page<JobLogLine>
    expect(fourth.data).toMatchObject([{ message: 'two', level: 'warn' }])
    expect((await page(id, `?cursor=${fourth.next_cursor}`)).page.data).toEqual([])
    await agents[0]!.finish(assigned, { stdout: text, sent: text.length - 20 })
    const last = (await page(id, `?cursor=${fourth.next_cursor}`)).page
    expect(last).toMatchObject({
      data: [
        { message: 'three', job_id: part },
        { message: 'succeeded', attempt: 1, job_id: part },
        { message: 'succeeded', attempt: 0, job_id: id },
      ],
      next_cursor: null,
    })
    for (const limit of [1, 2, 200])
      expect(await all(id, limit)).toEqual([
        ...first.page.data,
        ...second.page.data,
        ...third.page.data,
        ...fourth.data,
        ...last.data,
      ])
    agents[0]!.leave()
  })

  it('merges what several agents write by time, and keeps each in its order', async () => {
    const { download, given, agents } = await openUpkeep(test, 2)
    const { id } = await download()
    const [one, other] = [await given(0), await given(1)]
    await agents[0]!.finish(one, {
      stdout: logText(
        { time: at(1), message: 'a1' },
        { time: at(5), message: 'a5' },
        { time: at(4), message: 'a4' },
      ),
    })
    await agents[1]!.finish(other, {
      stdout: logText({ time: at(2), message: 'b2' }, { time: at(6), message: 'b6' }),
    })
    const written = (await all(id)).filter(({ message }) => /^[ab]\d$/.test(message))
    expect(written.map(({ message, job_id }) => [message, job_id])).toEqual([
      ['a1', one.id],
      ['b2', other.id],
      ['a5', one.id],
      ['a4', one.id],
      ['b6', other.id],
    ])
    for (const agent of agents) agent.leave()
  })

  it('shows every attempt, with what it ended with', async () => {
    const { download, given, agents } = await openUpkeep(test)
    const { id, parts } = await download({ retry: { max_attempts: 2 } })
    const log = (message: string) => ({ stdout: logText({ time: at(1), message }) })
    await agents[0]!.finish(await given(), { ...log('first'), result: failed })
    await retriedNow(parts[0]!.id)
    await agents[0]!.finish(await given(), { ...log('second'), result: failed })
    const lines = await all(parts[0]!.id)
    expect(lines.map(({ level, attempt, message }) => [level, attempt, message])).toEqual([
      ['info', 0, expect.stringContaining('submitted')],
      ['info', 1, 'first'],
      ['warn', 1, 'attempt 1 of 2: infra_error: the registry is away'],
      ['info', 2, expect.stringContaining('assigned')],
      ['info', 2, 'second'],
      ['error', 2, 'infra_error: the registry is away'],
    ])
    expect(messages(await all(id)).at(-1)).toBe(`infra_error: ${agents[0]!.name}: the registry is away`)
    agents[0]!.leave()
  })

  it('shows what is no line of ours as text, whatever it is', async () => {
    const { download, given, agents } = await openUpkeep(test)
    const { id } = await download()
    const assigned = await given()
    const raw = [
      'plain text',
      '{"time":"2031-01-01T00:00:00Z","level":"info"',
      '\0\x1b[2J\x1b]0;title\x07',
      '{"time":"tomorrow","level":"info","message":"a"}',
      '{"time":"2031-01-01T00:00:00Z","level":"fatal","message":"b"}',
      '{"__proto__":{"level":"info"},"message":"c"}',
      '[]',
      '',
      '['.repeat(10_000),
      'x'.repeat(150_000),
    ]
    const bytes = new Uint8Array([
      ...logText({ time: at(1), message: 'forged\r\n\u001b[31m\u202eline' }),
      ...encoder.encode(raw.map((line) => `${line}\n`).join('')),
      0xff,
      0xfe,
      0x0a,
      ...logText({ time: '9999-12-31T23:59:59.999Z', message: 'late' }, { time: at(2), message: 'after' }),
      ...encoder.encode('half a li'),
    ])
    // As it comes over the socket
    for (let offset = 0; offset < bytes.length; offset += 50_000)
      await write(agents[0]!, assigned, offset, bytes.subarray(offset, offset + 50_000))
    const before = await all(id, 3)
    expect(messages(before)).not.toContain('half a li')
    await agents[0]!.finish(assigned, { stdout: bytes, sent: bytes.length })
    const lines = await all(id, 3)
    const shown = messages(lines)
    expect(shown).toContain('forged \uFFFD[31m\uFFFDline')
    expect(shown).toContain('\uFFFD\uFFFD[2J\uFFFD]0;title\uFFFD')
    for (const text of [
      'plain text',
      raw[1]!,
      raw[3]!,
      raw[4]!,
      raw[5]!,
      '[]',
      '',
      '\uFFFD\uFFFD',
      'late',
      'after',
    ])
      expect(shown).toContain(text)
    expect(shown.filter((text) => text.startsWith('xxxx')).length).toBeGreaterThanOrEqual(1)
    expect(shown.every((text) => text.length <= 8_192)).toBe(true)
    expect(shown.slice(-5)).toEqual(['late', 'after', 'half a li', 'succeeded', 'succeeded'])
    expect(lines.find(({ message }) => message === 'plain text')).toMatchObject({ level: 'info', attempt: 1 })
    agents[0]!.leave()
  })

  it('shows thousands of lines of several agents each once, in order', async () => {
    const { download, given, agents } = await openUpkeep(test, 3)
    const { id } = await download()
    const count = 1_000
    for (const [n, agent] of agents.entries()) {
      const assigned = await given(n)
      const lines = Array.from({ length: count }, (_, i) => ({
        time: new Date(Date.UTC(2031, 0, 1) + i * (n + 1)).toISOString(),
        message: `${n} ${i} ${'.'.repeat(60)}`,
      }))
      const bytes = logText(...lines)
      for (let offset = 0; offset < bytes.length; offset += 60_000)
        await write(agent, assigned, offset, bytes.subarray(offset, offset + 60_000))
      await agent.finish(assigned, { stdout: bytes, sent: bytes.length })
    }
    const lines = (await all(id)).filter(({ message }) => message.endsWith('.'))
    expect(lines).toHaveLength(3 * count)
    for (const n of [0, 1, 2]) {
      const own = messages(lines).filter((message) => message.startsWith(`${n} `))
      expect(own.map((message) => Number(message.split(' ')[1]))).toEqual(
        Array.from({ length: count }, (_, i) => i),
      )
    }
    // Read at one go, where more is read of each than once
    const { events } = await readEvents(test, `/jobs/${id}/logs`)
    const streamed = events.filter(({ event }) => event === 'log').map(({ data }) => data as JobLogLine)
    expect(streamed.filter(({ message }) => message.endsWith('.'))).toEqual(lines)
    const times = lines.map(({ time }) => Date.parse(time))
    expect(times).toEqual(times.toSorted((one, other) => one - other))
    for (const agent of agents) agent.leave()
  })

  it('tells of an execution what is known of it', async () => {
    const agent = await test.connectAgent(1)
    const { id } = await test.submit({ retry: { max_attempts: 2 } })
    await expect.poll(() => agent.assigned.length).toBe(1)
    await agent.start(agent.assigned[0]!)
    await agent.finish(agent.assigned[0]!, {
      result: { outcome: 'lost', exit_code: null, error: 'it is gone' },
    })
    await retriedNow(id)
    agent.grant(1)
    test.parts.dispatch.kick()
    await expect.poll(() => agent.assigned.length).toBe(2)
    await test.request('POST', `/jobs/${id}/cancel`)
    const stdout = encoder.encode(
      '{"time":"2031-01-01T00:00:00Z","level":"info","message":"of the program"}\n',
    )
    await agent.finish(agent.assigned[1]!, { stdout, result: { outcome: 'canceled', exit_code: null } })
    expect((await all(id)).map(({ level, attempt, message }) => [level, attempt, message])).toEqual([
      ['info', 0, 'submitted: code.execute for local_python'],
      ['warn', 1, 'attempt 1 of 2: lost: it is gone'],
      ['info', 2, `assigned to agent ${agent.name}`],
      ['info', 2, 'asked to end'],
      ['info', 2, 'canceled'],
    ])
    agent.leave()
  })

  it('tells the end of what no agent ever had', async () => {
    const { download } = await openUpkeep(test, 0)
    const { id } = await download()
    await test.request('POST', `/jobs/${id}/cancel`)
    const lines = await all(id)
    expect(messages(lines)).toEqual([expect.stringContaining('submitted'), 'canceled'])
    expect(lines.map(({ attempt }) => attempt)).toEqual([0, 0])
  })

  it.each([
    ['?limit=0', '?limit'],
    ['?cursor=', '?cursor'],
    ['?cursor=c1', '?cursor'],
    ['?cursor=c1.2.3_', '?cursor'],
    ['?cursor=x1.2.3', '?cursor'],
    ['?cursor=c1.zzzzzzzzzzzzz.0', '?cursor'],
    ['?since=1', '?since'],
  ])('refuses %s', async (query, pointer) => {
    const { id } = await test.submit()
    const answer = await test.request('GET', `/jobs/${id}/logs${query}`)
    expect(answer.status).toBe(422)
    expect(await answer.json()).toMatchObject({ errors: [{ pointer }] })
  })

  it('answers to a cursor of another job, or beyond the end, with what there is', async () => {
    const { download, agents } = await openUpkeep(test)
    const { id } = await download()
    const query = `?cursor=c${(2 ** 50).toString(36)}.zzzzzz.f_jaaaaaaaaaaaa.5.1`
    expect((await page(id, query)).page.data).toHaveLength(1)
    agents[0]!.leave()
  })

  describe('as server-sent events', () => {
    const path = (id: string) => `/jobs/${id}/logs`
    const follow = (id: string, enough?: (events: ServerSentEvent[]) => boolean, lastEventId?: string) =>
      readEvents(test, path(id), { ...(enough && { enough }), lastEventId })
    const lines = (events: ServerSentEvent[]) =>
      events.filter(({ event }) => event === 'log').map(({ data }) => data as JobLogLine)
    const has = (message: string) => (events: ServerSentEvent[]) => messages(lines(events)).includes(message)

    it('tells log, status and progress as they happen, and ends with the job', async () => {
      const { download, given, agents, job } = await openUpkeep(test)
      const { id, parts } = await download()
      const reading = follow(id, isEnd)
      await expect.poll(() => test.parts.live.listeners).toBe(2)
      const assigned = await given()
      const text = logText({ time: at(1), message: 'one' }, { time: at(2), message: 'two' })
      await write(agents[0]!, assigned, 0, text.subarray(0, 70))
      const told = {
        phase: 'downloading',
        bytes_done: 1,
        bytes_total: null,
        percent: null,
        bytes_per_sec: 1,
      } as const
      await agents[0]!.progress(assigned, told)
      await agents[0]!.finish(assigned, { stdout: text, sent: 70 })
      const { answer, events, text: raw } = await reading
      expect(answer.headers.get('content-type')).toBe('text/event-stream')
      expect(raw).toMatch(/^retry: \d+\n\n/)
      expect(events[0]).toMatchObject({
        event: 'status',
        data: { id, status: 'locked', locked_by: parts[0]!.id },
      })
      expect(messages(lines(events)).slice(-4)).toEqual(['one', 'two', 'succeeded', 'succeeded'])
      expect(lines(events)).toEqual(await all(id))
      expect(events.at(-1)!.data as JobEvents['end']).toEqual(await job(id))
      await expect.poll(() => test.parts.live.listeners).toBe(0)
      agents[0]!.leave()
    })

    it('tells progress to who comes later, and again only when it has changed', async () => {
      const { download, given, agents } = await openUpkeep(test)
      const { id } = await download()
      const assigned = await given()
      const told = {
        phase: 'downloading',
        bytes_done: 1,
        bytes_total: 9,
        percent: 5,
        bytes_per_sec: null,
      } as const
      await agents[0]!.progress(assigned, told)
      const isProgress = (events: ServerSentEvent[]) => events.some(({ event }) => event === 'progress')
      const first = await follow(id, isProgress)
      expect(first.events.at(-1)!.data).toEqual(told)
      const second = follow(id, isEnd, first.events.at(-1)!.id)
      await expect.poll(() => test.parts.live.listeners).toBe(2)
      await agents[0]!.finish(assigned)
      const { events } = await second
      expect(events.filter(({ event }) => event === 'progress').length).toBeLessThanOrEqual(1)
      expect(lines(events).length + lines(first.events).length).toBe((await all(id)).length)
      agents[0]!.leave()
    })

    it('resumes exactly after each event, while it runs and when it has ended', async () => {
      const { download, given, agents } = await openUpkeep(test, 2)
      const { id } = await download()
      const [one, other] = [await given(0), await given(1)]
      const text = logText(...Array.from({ length: 6 }, (_, n) => ({ time: at(n), message: `line ${n}` })))
      const half = text.indexOf(10, text.length / 2) + 5
      await write(agents[0]!, one, 0, text.subarray(0, half))
      await write(agents[1]!, other, 0, text.subarray(0, half))
      const first = await follow(id, has('line 2'))
      await agents[0]!.finish(one, { stdout: text, sent: half })
      const second = await follow(id, has('line 5'), first.events.at(-1)!.id)
      await agents[1]!.finish(other, { stdout: text, sent: half })
      const third = await follow(id, isEnd, second.events.at(-1)!.id)
      const every = [...first.events, ...second.events, ...third.events]
      const sorted = (of: JobLogLine[]) => of.map((line) => JSON.stringify(line)).toSorted()
      const whole = sorted(await all(id))
      expect(sorted(lines(every))).toEqual(whole)
      for (const [index, { id: eventId }] of every.slice(0, -1).entries()) {
        const rest = await follow(id, isEnd, eventId)
        expect(sorted(lines([...every.slice(0, index + 1), ...rest.events]))).toEqual(whole)
      }
      expect((await follow(id, undefined, every.at(-1)!.id)).answer.status).toBe(204)
      for (const agent of agents) agent.leave()
    })

    it('goes on from the cursor of a page', async () => {
      const { id } = await test.submit()
      const { next_cursor } = (await page(id)).page
      await test.request('POST', `/jobs/${id}/cancel`)
      const { events } = await readEvents(test, `${path(id)}?cursor=${next_cursor}`)
      expect(messages(lines(events))).toEqual(['canceled'])
    })

    it('follows what only the store knows', async () => {
      const { download } = await openUpkeep(test, 0)
      const { id } = await download()
      const reading = follow(id)
      await expect.poll(() => test.parts.live.listeners).toBe(1)
      // Past this app, as another replica would
      await cancel(test.parts.db, { id, project: null })
      const { events } = await reading
      expect(events.map(({ event }) => event)).toEqual(['status', 'log', 'log', 'end'])
      expect(isFinal((events.at(-1)!.data as Job).status)).toBe(true)
    })

    it('ends, to be resumed elsewhere, when this replica goes down', async () => {
      const own = await openTestApp(database)
      try {
        const { id } = await own.submit()
        const reading = readEvents(own, path(id))
        await expect.poll(() => own.parts.live.listeners).toBe(1)
        own.closing.abort()
        expect((await reading).events.map(({ event }) => event)).not.toContain('end')
        expect(own.parts.live.listeners).toBe(0)
      } finally {
        await own.close()
      }
    })

    it('refuses what is no id of an event, and a limit', async () => {
      const { id } = await test.submit()
      for (const lastEventId of ['x', 'running-1', 'nothing-1-', 'running-1-c1', 'running-x-'])
        expect((await follow(id, undefined, lastEventId)).answer.status).toBe(400)
      const headers = { accept: 'text/event-stream' }
      expect((await test.request('GET', `${path(id)}?limit=1`, { headers })).status).toBe(422)
    })

    it.each([
      ['text/event-stream', 'text/event-stream'],
      ['text/event-stream, */*;q=0.1', 'text/event-stream'],
      ['application/json, text/event-stream;q=0.5', 'application/json'],
      ['*/*', 'application/json'],
      ['text/html', 'application/json'],
    ])('answers to Accept: %s with %s', async (accept, type) => {
      const { id } = await test.submit()
      const aborter = new AbortController()
      const answer = await test.request('GET', path(id), { headers: { accept }, signal: aborter.signal })
      expect(answer.headers.get('content-type')).toContain(type)
      await answer.body?.cancel()
    })
  })
})
