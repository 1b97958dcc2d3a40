import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { sizeLimits, type Problem } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { Api } from './harness/api.ts'
import { atOnce } from './harness/at-once.ts'
import { apiForTest, databases } from './harness/for-test.ts'

const executor = 'local_python_default'
const valid = { executor, code: 'pass' }

interface Malformed {
  name: string
  path?: '/executions' | '/jobs'
  body: string | Uint8Array
  headers?: Record<string, string>
  status: 400 | 404 | 413 | 415 | 422
  pointer: string
}

const bad = (name: string, body: string | Uint8Array): Malformed => ({ name, body, status: 400, pointer: '' })
const refused = (pointer: string, fields: object, name = pointer): Malformed => ({
  name: `${name} ${JSON.stringify(fields).slice(0, 60)}`,
  body: JSON.stringify({ ...valid, ...fields }),
  status: 422,
  pointer,
})
const raw = (name: string, pointer: string, body: string): Malformed => ({ name, pointer, body, status: 422 })
const withHeader = (header: string, value: string): Malformed => ({
  name: `${header}: ${value}`,
  body: JSON.stringify(valid),
  headers: { [header]: value },
  status: 415,
  pointer: `header ${header}`,
})

const malformedExecutions: Malformed[] = [
  bad('nothing', ''),
  bad('no JSON', 'executor=local'),
  bad('cut JSON', '{"executor":"local'),
  bad('two values', '{}{}'),
  bad('a trailing comma', '{"executor":"x",}'),
  bad('NaN', `{"executor":"${executor}","code":"","timeout_sec":NaN}`),
  bad('a byte order mark of UTF-16', Buffer.from(`\ufeff${JSON.stringify(valid)}`, 'utf16le')),
  bad('invalid UTF-8', Buffer.from([...Buffer.from('{"executor":"'), 0xff, 0xfe, ...Buffer.from('"}')])),
  bad('NUL bytes', Buffer.alloc(100)),
  bad('deep arrays', '['.repeat(100_000)),
  bad('deep objects', `${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}`),
  bad('very many values', `[${'1,'.repeat(100_000)}1]`),
  withHeader('Content-Type', 'text/plain'),
  withHeader('Content-Type', 'application/x-www-form-urlencoded'),
  withHeader('Content-Type', 'application/json; charset=latin1'),
  withHeader('Content-Encoding', 'gzip'),
  raw('null', '', 'null'),
  raw('an array', '', '[]'),
  raw('a string', '', '"text"'),
  raw('no executor', '/executor', '{"code":""}'),
  raw('the prototype', '/__proto__', `{"executor":"${executor}","code":"","__proto__":{"polluted":true}}`),
  raw('a constructor', '/constructor', `{"executor":"${executor}","code":"","constructor":{"prototype":{}}}`),
  raw('infinity', '/timeout_sec', `{"executor":"${executor}","code":"","timeout_sec":1e400}`),
  refused('/code', { code: undefined }, 'no code'),
  refused('/unknown', { unknown: 1 }),
  refused('/executor', { executor: 3 }),
  refused('/executor', { executor: '../x' }),
  { ...refused('/executor', { executor: 'none' }), status: 404 },
  refused('/code', { code: 1 }),
  refused('/code', { code: '\ud800' }),
  refused('/runtime', { runtime: 'cobol' }),
  refused('/args', { args: 'one' }),
  refused('/args/1', { args: ['a', 2] }),
  refused('/args/0', { args: ['a\0b'] }),
  refused('/stdin', { stdin: null }),
  refused('/env/A=B', { env: { 'A=B': '' } }),
  refused('/env/A', { env: { A: 'x\0' } }),
  refused('/env/A', { env: { A: 'x'.repeat(131_072) } }),
  ...[-1, 0, 1e9, '10', null].map((timeout_sec) => refused('/timeout_sec', { timeout_sec })),
  ...[-1, 0, 1.5, 2 ** 31, 2 ** 53 + 2, '10'].map((limit) =>
    refused('/limits/mem_limit_mb', { limits: { mem_limit_mb: limit } }),
  ),
  ...[-1, 0, 1.5, 65_537].map((limit) =>
    refused('/limits/output_limit_kb', { limits: { output_limit_kb: limit } }),
  ),
  refused('/limits/pids', { limits: { pids: 1 } }),
  refused('/priority', { priority: 1.5 }),
  refused('/priority', { priority: 101 }),
  refused('/labels/a b', { labels: { 'a b': '' } }),
  refused('/labels/a', { labels: { a: 'two\nlines' } }),
  refused('/expires_in_sec', { expires_in_sec: -1 }),
  refused('/retry/max_attempts', { retry: { max_attempts: 11 } }),
  refused('/on_output_limit', { on_output_limit: 'ignore' }),
  refused('/network', { network: 'bridge' }),
  refused('/dependencies', { dependencies: ['numpy'] }),
  refused('/artifacts', { artifacts: ['*'] }),
  ...['../x', '/abs', 'a/../../x', 'a\0b', '.', '', 'C:\\x', '-rf', 'a//b', 'x'.repeat(5_000)].map((path) =>
    refused('/files/0/path', { code: undefined, entrypoint: 'a', files: [{ path, content: '' }] }),
  ),
  refused('/files/0/content', { code: undefined, entrypoint: 'a', files: [{ path: 'a' }] }),
  refused('/files/0/content_base64', {
    code: undefined,
    entrypoint: 'a',
    files: [{ path: 'a', content_base64: '!' }],
  }),
  refused('/files/1/path', {
    code: undefined,
    entrypoint: 'a',
    files: [
      { path: 'a', content: '' },
      { path: 'a', content: '' },
    ],
  }),
  refused('/entrypoint', { code: undefined, files: [{ path: 'a', content: '' }] }),
  refused('/code', { files: [{ path: 'a', content: '' }], entrypoint: 'a' }),
]

/** The same as the params of a job. */
function asJob({ name, body, headers, status, pointer }: Malformed): Malformed {
  const job = { path: '/jobs', name: `a job of ${name}`, headers, status } as const
  if (status === 400 || status === 415) return { ...job, body, pointer }
  return { ...job, body: `{"type":"code.execute","params":${body as string}}`, pointer: `/params${pointer}` }
}

const job = (pointer: string, fields: object, status: 404 | 422 = 422): Malformed => ({
  name: `a job ${JSON.stringify(fields).slice(0, 80)}`,
  path: '/jobs',
  body: JSON.stringify({
    type: 'docker_image.download',
    params: { code_executor: 'docker_python_default' },
    ...fields,
  }),
  status,
  pointer,
})

const malformed: Malformed[] = [
  ...malformedExecutions,
  ...malformedExecutions.map(asJob),
  job('/type', { type: undefined }),
  job('/type', { type: 'docker_image' }),
  job('/type', { type: ['docker_image.download'] }),
  job('/params/code_executor', { params: undefined }),
  job('/params/code_executor', { params: { code_executor: 3 } }),
  job('/params/code_executor', { params: { code_executor: '../x' } }),
  job('/params/code_executor', { params: { code_executor: executor } }),
  job('/params/code_executor', { params: { code_executor: 'none' } }, 404),
  job('/params/image', { params: { code_executor: 'docker_python_default', image: 'x' } }),
  job('/params/dependencies', { type: 'runtime.install' }),
  ...['numpy', [null], ['a\nb'], [''], ['x'.repeat(513)], Array.from({ length: 1_001 }, () => 'x')].map(
    (dependencies) =>
      job(
        Array.isArray(dependencies) && dependencies.length === 1
          ? '/params/dependencies/0'
          : '/params/dependencies',
        {
          type: 'runtime.install',
          params: { code_executor: executor, dependencies },
        },
      ),
  ),
  job('/params/runtime', { type: 'runtime.install', params: { code_executor: executor, runtime: 'cobol' } }),
  ...['', 'a b', 'x'.repeat(256), 'ü', 7].map((idempotency_key) =>
    job('/idempotency_key', { idempotency_key }),
  ),
  ...[0, -1, 1e9, '10', null].map((timeout_sec) => job('/timeout_sec', { timeout_sec })),
  job('/retry/max_attempts', { retry: { max_attempts: 0 } }),
  job('/retry/max_attempts', { retry: {} }),
  job('/priority', { priority: 1 }),
]

describe.each(databases)('a malformed body, on %s', (database) => {
  it('is refused with a pointer and stores nothing', async () => {
    const api = await apiForTest({ database })
    for (const one of malformed) {
      const answer = await send(api, one)
      expect({ name: one.name, status: answer.status, type: answer.type }).toEqual({
        name: one.name,
        status: one.status,
        type: 'application/problem+json',
      })
      const problem = JSON.parse(answer.text) as Problem
      expect({ name: one.name, pointers: problem.errors?.map(({ pointer }) => pointer) }).toEqual({
        name: one.name,
        pointers: expect.arrayContaining([one.pointer]),
      })
      expect(problem.errors?.every(({ detail }) => detail.length > 0)).toBe(true)
    }
    for (const path of ['/executions', '/jobs'])
      expect(await api.client.get(`${path}?count=true`)).toMatchObject({ data: [], total: 0 })
  })

  it('that is too large is refused before it is read, with and without a length', async () => {
    const api = await apiForTest({ database })
    const tooLarge = /^HTTP\/1\.1 413 [\s\S]*"pointer":""/
    const declared = await pour(api, `Content-Length: ${sizeLimits.body * 10}`, 0)
    expect(declared.answer).toMatch(tooLarge)
    const chunked = await pour(api, 'Transfer-Encoding: chunked', sizeLimits.body + 1)
    expect(chunked.answer).toMatch(tooLarge)
    // Who goes on sending finds the connection closed, perhaps by a reset that takes the answer with it.
    for (const header of [`Content-Length: ${sizeLimits.body * 10}`, 'Transfer-Encoding: chunked']) {
      const flood = await pour(api, header, Infinity)
      expect(flood.answer).toMatch(/^(HTTP\/1\.1 413 |$)/)
      // With what the kernel's buffers took beyond it.
      expect(flood.sent).toBeLessThan(sizeLimits.body * 2)
    }
    expect(await api.client.executions('?count=true')).toMatchObject({ data: [], total: 0 })
  })
})

/** No database is asked for most of them; without the embedded one in its process, that process's size says more. */
describe('malformed bodies', () => {
  it('leave no memory behind, ten thousand times', async () => {
    // The platform's Request objects are freed only by full collections: with a small heap these come early.
    const env = { NODE_OPTIONS: '--max-old-space-size=112 --max-semi-space-size=4' }
    const api = await apiForTest({ database: 'postgres', env })
    const keepAlive = new Agent({ keepAlive: true, maxSockets: 8 })
    const flood = (count: number) =>
      atOnce(8, count, async (n) => {
        const one = malformed[n % malformed.length]!
        expect((await send(api, one, keepAlive)).status).toBe(one.status)
      })
    await flood(2_000)
    const before = residentMib(api)
    await flood(10_000)
    expect(residentMib(api) - before).toBeLessThanOrEqual(20)
    keepAlive.destroy()
    expect(await api.client.executions('?count=true')).toMatchObject({ data: [], total: 0 })
    expect(await api.client.submit(valid)).toMatchObject({ status: 'waiting' })
  })
})

function residentMib(api: Api): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${api.process.pid}/status`, 'utf8'))!
  return Number(kib) / 1024
}

function send(
  api: Api,
  { path = '/executions', body, headers }: Malformed,
  agent?: Agent,
): Promise<{ status: number | undefined; type: string | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(
      `${api.url}${path}`,
      {
        method: 'POST',
        agent,
        headers: {
          authorization: `Bearer ${api.adminKey}`,
          'Content-Type': 'application/json',
          ...headers,
          'Content-Length': Buffer.byteLength(body),
        },
      },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk: string) => (text += chunk))
        answer.on('end', () =>
          resolve({ status: answer.statusCode, type: answer.headers['content-type'], text }),
        )
        answer.on('error', reject)
      },
    )
    asked.on('error', reject)
    asked.end(body)
  })
}

/** Sends `bytes` of a body that does not end, until the server closes; what it said and how much it was sent. */
function pour(api: Api, header: string, bytes: number): Promise<{ answer: string; sent: number }> {
  const isChunked = header.includes('chunked')
  return new Promise((resolve) => {
    const socket = connect(api.port, '127.0.0.1')
    let answer = ''
    let left = bytes
    const write = (): void => {
      for (let more = true; more && left > 0 && !socket.destroyed;) {
        const size = Math.min(left, 64 * 1024)
        left -= size
        const piece = ' '.repeat(size)
        more = socket.write(isChunked ? `${size.toString(16)}\r\n${piece}\r\n` : piece)
      }
    }
    socket.on('connect', () => {
      const lines = ['POST /executions HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${api.adminKey}`]
      socket.write(`${[...lines, 'Content-Type: application/json', header].join('\r\n')}\r\n\r\n`)
      write()
    })
    socket.on('drain', write)
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => (answer += text))
    socket.on('error', () => {})
    socket.on('close', () => resolve({ answer, sent: socket.bytesWritten }))
  })
}
