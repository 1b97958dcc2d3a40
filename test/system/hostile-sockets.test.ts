import { once } from 'node:events'
import { closeCode, sizeLimits } from '@errand/shared'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it, onTestFailed } from 'vitest'
import type { TestAgent } from './harness/agent.ts'
import { startAgent } from './harness/agent.ts'
import { startApi, type Api } from './harness/api.ts'
import { until } from './harness/until.ts'
import { enrolScripted, ScriptedSocket, type ScriptedIdentity } from './harness/scripted-agent.ts'

const timeScale = 0.2

describe('an API whose agents are hostile lives on, and others notice nothing (NET-16)', () => {
  let api: Api
  let good: TestAgent
  let hostile: ScriptedIdentity
  beforeAll(async () => {
    api = await startApi({ database: { server: inject('databaseUrl') }, timeScale })
    good = await startAgent({ api, slots: 1, fake: true, timeScale })
    hostile = await enrolScripted(api.client, {})
  })
  afterAll(async () => {
    await good?.close()
    await api?.close()
  })
  beforeEach(() => onTestFailed(() => console.error(api.log.slice(-10_000))))

  async function dial(): Promise<ScriptedSocket> {
    const socket = new ScriptedSocket(api.url)
    await once(socket.ws, 'open')
    return socket
  }
  async function connect(): Promise<ScriptedSocket> {
    const socket = await dial()
    await socket.open(hostile)
    return socket
  }
  async function goodGoesOn(): Promise<void> {
    const code = JSON.stringify({ steps: [{ stdout: 'good' }] })
    const record = await api.client.run({ executor: 'local_python_default', code })
    expect(record).toMatchObject({ outcome: 'succeeded', stdout: 'good', agent_id: good.id })
    expect(good.log).not.toContain('not connected to the API')
    expect(api.process.alive).toBe(true)
    expect(api.log).not.toMatch(/uncaught|agent session failed/i)
  }

  it.each<[string, number, (socket: ScriptedSocket) => void]>([
    ['a frame larger than any', closeCode.tooBig, ({ ws }) => ws.send(new Uint8Array(sizeLimits.frame + 1))],
    [
      'a hundred thousand tiny fragments',
      closeCode.policyViolation,
      ({ ws }) => {
        for (let n = 0; n < 100_000; n++) ws.send('x', { fin: false })
      },
    ],
    ['invalid UTF-8', 1007, ({ ws }) => ws.send(new Uint8Array([0xff, 0xfe]), { binary: false })],
    ['a message of an unknown type', closeCode.protocolError, ({ ws }) => ws.send('{"type":"nonsense"}')],
    [
      'ten thousands of messages a second',
      closeCode.policyViolation,
      (socket) => {
        for (let n = 0; n < 100_000; n++) socket.send({ type: 'credits', run: 0, ssh: 0, maintenance: 0 })
      },
    ],
  ])('%s: closed with %i', async (_, code, act) => {
    // Proved or not makes no difference.
    const sockets = [await connect(), ...(code === closeCode.policyViolation ? [] : [await dial()])]
    for (const socket of sockets) {
      act(socket)
      expect(await socket.closed).toBe(code)
    }
    await goodGoesOn()
  })

  it('one that answers no ping is ended', async () => {
    const socket = await connect()
    const disconnects = () => api.log.split('agent disconnected').length
    const before = disconnects()
    // Nothing is read any more, so nothing is answered.
    socket.ws.pause()
    expect(await until('the API has ended it', () => disconnects() > before)).toBe(true)
    socket.ws.terminate()
    await goodGoesOn()
  })

  it('five hundred that never say who they are are closed in time', async () => {
    const sockets = await Promise.all(Array.from({ length: 500 }, dial))
    await goodGoesOn()
    const codes = await Promise.all(sockets.map(({ closed }) => closed))
    expect(new Set(codes)).toEqual(new Set([closeCode.policyViolation]))
    await goodGoesOn()
  })
})
