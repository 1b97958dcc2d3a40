import { connect } from 'node:net'
import { timeConstants } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { createApp, type Parts } from '../../apps/api/src/app.ts'
import { apiForTest } from './harness/for-test.ts'

/** Promise 9: those who call these have no key, or prove themselves otherwise. */
const keyless = new Set([
  'GET /',
  'GET /healthz',
  'GET /livez',
  'GET /readyz',
  'POST /agents/enroll',
  'GET /agents/connect',
  'GET /agents/work/:id/input',
])

/** The route table itself, so that a new route is asked for here unless it is keyless above. */
const routes = [
  ...new Set(
    createApp({ publicUrl: 'http://localhost', log: console, time: timeConstants } as unknown as Parts)
      .routes.filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path}`),
  ),
]
const guarded = routes.filter((route) => !keyless.has(route))

const wrongKeys = [
  undefined,
  'Bearer',
  'Bearer wrong',
  'Bearer  ',
  'Basic YWRtaW46YWRtaW4=',
  "Bearer ' or 1=1 --",
  `Bearer ${'x'.repeat(8_000)}`,
]

describe('without a valid key', () => {
  it('answers 401 on every route that asks for one, and tells nothing', async () => {
    expect(guarded.length).toBeGreaterThan(20)
    for (const route of ['POST /jobs', 'GET /jobs/:id/logs', 'POST /jobs/:id/cancel', 'GET /job-types'])
      expect(guarded).toContain(route)
    const api = await apiForTest({ database: 'pglite' })
    const wrong = [...wrongKeys, `Bearer ${api.adminKey.slice(0, -1)}`, `Bearer ${api.adminKey}x`]
    for (const route of guarded) {
      const [method, path] = lineOf(route)
      for (const authorization of wrong) {
        const answer = await ask(api.port, method, path, authorization)
        expect({ route, authorization, status: answer.status }).toEqual({ route, authorization, status: 401 })
        expect(answer.text).toMatch(/^www-authenticate: Bearer/im)
        expect(answer.text).not.toContain(api.adminKey)
      }
    }

    // Neither other methods nor other spellings of a path are a way round.
    const paths = [
      '/executions',
      '/jobs',
      '/job-types',
      '/agents',
      '/executors',
      '/enrollment-tokens',
      '/version',
      '/nothing',
    ]
    const methods = ['HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'QUERY', 'PROPFIND', 'SEARCH']
    const spellings = (path: string) => [
      path,
      `/${path}`,
      `//host${path}`,
      `/.${path}`,
      `/healthz/..${path}`,
      `/healthz/%2e%2e${path}`,
      `/agents/enroll/..${path}`,
      `${path}/`,
      `${path}?x=/healthz`,
      `${path}%2fx`,
      `${path}/..;/`,
      `http://other${path}`,
    ]
    for (const path of paths) {
      for (const method of methods)
        expect({ method, path, status: (await ask(api.port, method, path)).status }).toEqual({
          method,
          path,
          status: 401,
        })
      for (const target of spellings(path))
        expect({ target, ...(await refused(api.port, target)) }).toEqual({ target, let_in: false })
    }

    // The key itself is right, and nothing was made meanwhile.
    for (const path of ['/executions', '/jobs', '/enrollment-tokens'])
      expect(await api.client.get(path)).toMatchObject({ data: [] })
  })

  it('opens the keyless routes to nothing else', async () => {
    const api = await apiForTest({ database: 'pglite' })
    const id = crypto.randomUUID()
    expect((await ask(api.port, 'GET', '/')).status).toBe(302)
    for (const path of ['/healthz', '/livez', '/readyz'])
      expect((await ask(api.port, 'GET', path)).status).toBe(200)
    expect((await ask(api.port, 'GET', '/agents/connect')).status).toBe(426)
    expect((await ask(api.port, 'GET', `/agents/work/${id}/input`)).status).toBe(401)
    const enroll = { token: 'wrong', name: 'x', public_key: Buffer.alloc(32).toString('base64') }
    expect((await api.client.request('POST', '/agents/enroll', enroll)).status).toBe(401)
  })
})

function lineOf(route: string): [method: string, path: string] {
  const [method, path] = route.split(' ') as [string, string]
  return [method, path.replace(':id', crypto.randomUUID()).replace(':name', 'nobody')]
}

/** 401, or refused before it is routed; but nothing that only a key opens. */
async function refused(port: number, target: string): Promise<{ let_in: boolean }> {
  const { status } = await ask(port, 'GET', target)
  return { let_in: ![400, 401, 404].includes(status) }
}

/** As bytes on a socket: `fetch` would tidy the target. */
function ask(
  port: number,
  method: string,
  target: string,
  authorization?: string,
): Promise<{ status: number; text: string }> {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: localhost',
    'Connection: close',
    ...(authorization === undefined ? [] : [`Authorization: ${authorization}`]),
    ...(['POST', 'PUT', 'PATCH'].includes(method)
      ? ['Content-Type: application/json', 'Content-Length: 2']
      : []),
  ]
  const body = ['POST', 'PUT', 'PATCH'].includes(method) ? '{}' : ''
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`))
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => (text += chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text }))
  })
}
