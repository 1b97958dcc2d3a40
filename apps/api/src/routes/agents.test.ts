import { type Agent, type AgentStock, agent as agentSchema, agentSummary } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTestApp, problemOf, type TestApp } from './test-app.ts'

let test: TestApp
beforeAll(async () => {
  test = await openTestApp()
})
afterAll(() => test?.close())

const publicKey = () => crypto.getRandomValues(new Uint8Array(32)).toBase64()
const enroll = (body: object) => test.request('POST', '/agents/enroll', { key: null, body })
async function newToken(body: object = {}) {
  const answer = await test.request('POST', '/enrollment-tokens', { body })
  return (await answer.json()) as { id: string; token: string }
}

describe('enrolment', () => {
  it('lets an agent in once for each token, of many at the same time', async () => {
    const { token } = await newToken({ labels: { zone: 'a' } })
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => enroll({ token, name: `racer-${n}`, public_key: publicKey() })),
    )
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(9)
    const winner = answers.find(({ status }) => status === 201)!
    const { agent_id, server_id } = (await winner.json()) as { agent_id: string; server_id: string }
    expect(server_id).toBe(test.parts.serverId)
    const agent = (await (await test.request('GET', `/agents/${agent_id}`)).json()) as Agent
    expect(agentSchema.parse(agent)).toMatchObject({ status: 'offline', labels: { zone: 'a' }, report: null })
  })

  it('shows a token only where it is made', async () => {
    const { id, token } = await newToken()
    const shown = await (await test.request('GET', '/enrollment-tokens')).text()
    expect(shown).toContain(id)
    expect(shown).not.toContain(token)
    expect((await test.request('DELETE', `/enrollment-tokens/${id}`)).status).toBe(204)
    expect((await test.request('DELETE', `/enrollment-tokens/${id}`)).status).toBe(404)
    expect((await enroll({ token, name: 'late', public_key: publicKey() })).status).toBe(401)
  })

  it('refuses what is malformed', async () => {
    const { token } = await newToken()
    const good = { token, name: 'good', public_key: publicKey() }
    for (const [change, pointer] of [
      [{ name: '-' }, '/name'],
      [{ public_key: 'x' }, '/public_key'],
      [{ public_key: new Uint8Array(33).toBase64() }, '/public_key'],
      [{ role: 'admin' }, '/role'],
    ] as const) {
      const answer = await enroll({ ...good, ...change })
      expect(answer.status).toBe(422)
      expect((await problemOf(answer)).errors![0]!.pointer).toBe(pointer)
    }
    expect((await enroll(good)).status).toBe(201)
  })

  it('refuses a name that is taken', async () => {
    const { name } = await test.connectAgent(0)
    const { token } = await newToken()
    expect((await enroll({ token, name, public_key: publicKey() })).status).toBe(409)
  })
})

describe('/agents', () => {
  it('shows the fleet, and which runtimes it has', async () => {
    const { agentId, name } = await test.connectAgent(0)
    const { data } = (await (await test.request('GET', '/agents')).json()) as { data: Agent[] }
    expect(data.find(({ agent_id }) => agent_id === agentId)).toMatchObject({ name, status: 'online' })
    const runtimes = (await (await test.request('GET', '/runtimes')).json()) as {
      data: { name: string; compiled: boolean; agents: object[] }[]
    }
    expect(runtimes.data).toHaveLength(13)
    expect(runtimes.data.find((one) => one.name === 'c')).toMatchObject({ compiled: true, file: 'main.c' })
    expect(runtimes.data.find((one) => one.name === 'python')!.agents).toContainEqual({
      agent_id: agentId,
      agent_name: name,
      status: 'online',
      version: '3.11.2',
    })
  })

  it('shows what lies on an agent, but not in the list', async () => {
    const { agentId, tell } = await test.connectAgent(0)
    const read = async () => (await (await test.request('GET', `/agents/${agentId}`)).json()) as Agent
    expect(await read()).toMatchObject({ stock: null })
    const stock: AgentStock = {
      disk: [{ path: '/var/lib/errand', total_bytes: 2 ** 41, free_bytes: 2 ** 40 }],
      images: [
        {
          name: 'docker.io/library/python:3.13-slim',
          id: `sha256:${'a'.repeat(64)}`,
          bytes: 123_456_789,
          last_used_at: null,
          downloaded: true,
          in_use: false,
        },
      ],
      sets: [],
    }
    await tell(stock)
    expect(agentSchema.parse(await read())).toMatchObject({ stock })
    const { data } = (await (await test.request('GET', '/agents')).json()) as { data: object[] }
    for (const one of data) expect(() => agentSummary.parse(one)).not.toThrow()
  })

  it('changes names and labels', async () => {
    const { agentId } = await test.connectAgent(0)
    const body = { name: `renamed-${agentId.slice(0, 8)}`, labels: { gpu: 'yes' } }
    expect(await (await test.request('PATCH', `/agents/${agentId}`, { body })).json()).toMatchObject(body)
    const other = await test.connectAgent(0)
    const taken = await test.request('PATCH', `/agents/${other.agentId}`, { body: { name: body.name } })
    expect(taken.status).toBe(409)
  })

  it('gives a draining agent no more work until it resumes', async () => {
    const agent = await test.connectAgent(1)
    const drained = await test.request('POST', `/agents/${agent.agentId}/drain`)
    expect(await drained.json()).toMatchObject({ status: 'draining' })
    const { id } = await test.submit()
    test.parts.dispatch.kick()
    const resumed = await test.request('POST', `/agents/${agent.agentId}/resume`)
    expect(agent.assigned).toEqual([])
    expect(await resumed.json()).toMatchObject({ status: 'online' })
    await expect.poll(() => agent.assigned.map((job) => job.id)).toEqual([id])
    await agent.finish(agent.assigned[0]!)
    agent.leave()
  })

  it('revokes at once', async () => {
    const agent = await test.connectAgent(1)
    expect((await test.request('DELETE', `/agents/${agent.agentId}`)).status).toBe(204)
    expect((await test.request('GET', `/agents/${agent.agentId}`)).status).toBe(404)
    expect((await test.request('DELETE', `/agents/${agent.agentId}`)).status).toBe(404)
    await test.submit()
    expect(agent.assigned).toEqual([])
  })
})

describe('GET /agents/work/{id}/input', () => {
  it('gives a large input to who holds the claim, while it is held', async () => {
    const agent = await test.connectAgent(1)
    const code = `#${'x'.repeat(100_000)}`
    const { id } = await test.submit({ code })
    await expect.poll(() => agent.assigned.map((job) => job.id)).toContain(id)
    const job = agent.assigned.find((one) => one.id === id)!
    const { token, bytes, sha256 } = job.input!
    const path = `/agents/work/${id}/input`
    const answer = await test.request('GET', path, { key: token })
    const body = new Uint8Array(await answer.arrayBuffer())
    expect(body).toHaveLength(bytes)
    expect(new Uint8Array(await crypto.subtle.digest('SHA-256', body)).toHex()).toBe(sha256)
    expect(JSON.parse(new TextDecoder().decode(body))).toMatchObject({ code })

    expect(
      (await test.request('GET', `/agents/work/${crypto.randomUUID()}/input`, { key: token })).status,
    ).toBe(401)
    await agent.finish(job)
    expect((await test.request('GET', path, { key: token })).status).toBe(404)
    agent.leave()
  })
})
