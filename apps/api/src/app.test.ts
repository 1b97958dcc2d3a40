import { METHOD_NAME_ALL } from 'hono/router'
import type { Role } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestApp, openTestApp, problemOf } from './routes/test-app.ts'

/** Who may call each route: keyless (promise 9), or the least role. A route without an entry fails the first test. */
const audience: Record<string, 'keyless' | Role> = {
  'GET /': 'keyless',
  'GET /livez': 'keyless',
  'GET /readyz': 'keyless',
  'GET /healthz': 'keyless',
  'POST /agents/enroll': 'keyless',
  'GET /agents/connect': 'keyless',
  'GET /agents/work/:id/input': 'keyless',
  'POST /executions': 'runner',
  'GET /executions': 'viewer',
  'GET /executions/:id': 'viewer',
  'GET /executions/:id/request': 'viewer',
  'POST /executions/:id/cancel': 'runner',
  'GET /executions/:id/stdout': 'viewer',
  'GET /executions/:id/stderr': 'viewer',
  'GET /executions/:id/events': 'viewer',
  'GET /jobs': 'viewer',
  'POST /jobs': 'runner',
  'GET /jobs/:id': 'viewer',
  'GET /jobs/:id/logs': 'viewer',
  'POST /jobs/:id/cancel': 'runner',
  'GET /job-types': 'viewer',
  'GET /executors': 'viewer',
  'POST /executors': 'admin',
  'GET /executors/:name': 'viewer',
  'PATCH /executors/:name': 'admin',
  'DELETE /executors/:name': 'admin',
  'POST /executors/:name/check': 'admin',
  'POST /executors/:name/host-key': 'admin',
  'GET /agents': 'viewer',
  'GET /agents/:id': 'viewer',
  'PATCH /agents/:id': 'admin',
  'DELETE /agents/:id': 'admin',
  'POST /agents/:id/drain': 'admin',
  'POST /agents/:id/resume': 'admin',
  'GET /enrollment-tokens': 'admin',
  'POST /enrollment-tokens': 'admin',
  'DELETE /enrollment-tokens/:id': 'admin',
  'GET /runtimes': 'viewer',
  'GET /metrics': 'viewer',
  'GET /stats': 'viewer',
  'GET /version': 'viewer',
}

const withKey = Object.entries(audience).filter(([, who]) => who !== 'keyless')
const rank: Record<string, number> = { viewer: 0, runner: 1, admin: 2 }

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

/** The request line of a route, with an id and a name that nothing has. */
function lineOf(route: string): [method: string, path: string] {
  const [method, path] = route.split(' ') as [string, string]
  return [method, path.replace(':id', crypto.randomUUID()).replace(':name', 'nobody')]
}

describe('the route table', () => {
  it('has just the routes that this test knows', () => {
    const routes = test.app.routes.filter(({ method }) => method !== METHOD_NAME_ALL)
    expect(new Set(routes.map(({ method, path }) => `${method} ${path}`))).toEqual(
      new Set(Object.keys(audience)),
    )
  })

  it.each(withKey)('answers %s with 401 without a key and with a wrong one', async (route) => {
    const [method, path] = lineOf(route)
    for (const authorization of [
      '',
      'Bearer',
      'Bearer ',
      'Bearer wrong',
      `Basic ${test.keys.admin}`,
      `Bearer ${test.keys.admin.slice(0, -1)}`,
      `Bearer ${test.keys.admin} x`,
    ]) {
      const answer = await test.request(method, path, { key: null, headers: { authorization } })
      expect({ authorization, status: answer.status }).toEqual({ authorization, status: 401 })
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/)
      expect(await problemOf(answer)).toMatchObject({ code: 'unauthenticated', status: 401 })
    }
  })

  it.each(withKey)('lets only the right roles call %s (%s)', async (route, least) => {
    const [method, path] = lineOf(route)
    for (const role of ['viewer', 'runner', 'admin'] as const) {
      const { status } = await test.request(method, path, { key: test.keys[role] })
      expect({ role, forbidden: status === 403 }).toEqual({ role, forbidden: rank[role]! < rank[least]! })
    }
  })

  it('hides what paths there are from those without a key', async () => {
    const answer = await test.request('GET', '/no/such/path', { key: null })
    expect(answer.status).toBe(401)
  })
})

describe('every answer', () => {
  it('is a problem for unknown paths, and says which methods a path takes', async () => {
    const unknown = await test.request('GET', '/no/such/path')
    expect(unknown.status).toBe(404)
    expect(unknown.headers.get('content-type')).toBe('application/problem+json')
    expect(await problemOf(unknown)).toMatchObject({ code: 'not_found', instance: '/no/such/path' })

    const other = await test.request('PUT', '/executions')
    expect(other.status).toBe(405)
    expect(other.headers.get('allow')).toBe('GET, POST, HEAD')
    expect(await problemOf(other)).toMatchObject({ code: 'method_not_allowed' })
    expect(
      (await test.request('DELETE', `/executions/${crypto.randomUUID()}/cancel`)).headers.get('allow'),
    ).toBe('POST')
  })

  it('echoes a request id, or makes one', async () => {
    const echoed = await test.request('GET', '/nothing', { headers: { 'x-request-id': 'abc-123' } })
    expect(echoed.headers.get('x-request-id')).toBe('abc-123')
    expect(await problemOf(echoed)).toMatchObject({ request_id: 'abc-123' })
    const hostile = await test.request('GET', '/version', { headers: { 'x-request-id': 'a b<script>' } })
    expect(hostile.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  it.each(['/livez', '/version', '/executions', '/nothing'])('has the security headers: %s', async (path) => {
    const { headers } = await test.request('GET', path)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('content-security-policy')).toContain("default-src 'none'")
  })

  it('refuses unknown parameters', async () => {
    const answer = await test.request('GET', '/executors?limitt=1')
    expect(answer.status).toBe(422)
    expect(await problemOf(answer)).toMatchObject({ errors: [{ pointer: '?limitt' }] })
  })
})

describe('the keyless routes', () => {
  it('say whether the server is well', async () => {
    for (const path of ['/livez', '/readyz', '/healthz'])
      expect((await test.request('GET', path, { key: null })).status).toBe(200)
    expect((await test.request('GET', '/', { key: null })).headers.get('location')).toBe('/healthz')
  })

  it('ask for an upgrade where the agents connect', async () => {
    const answer = await test.request('GET', '/agents/connect', { key: null })
    expect(answer.status).toBe(426)
    expect(answer.headers.get('upgrade')).toBe('websocket')
  })

  it('answer 401 to an agent without a claim', async () => {
    const path = `/agents/work/${crypto.randomUUID()}/input`
    for (const key of [null, 'wrong', test.keys.admin])
      expect((await test.request('GET', path, { key })).status).toBe(401)
  })
})
