import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { scaleTime } from '@errand/shared'
import { enroll } from './enroll.ts'
import { readIdentity, readOrCreateKey } from './identity.ts'
import { silent } from './testing/agent-under-test.ts'
import { ScriptedApi } from './testing/scripted-api.ts'

let api: ScriptedApi
let agentDir: string
beforeEach(async () => {
  api = new ScriptedApi()
  await api.listen()
  agentDir = mkdtempSync(join(tmpdir(), 'errand-enroll-'))
})
afterEach(async () => {
  await api.close()
  rmSync(agentDir, { recursive: true, force: true })
})
const enrolNow = (signal = new AbortController().signal) =>
  enroll({
    url: api.url,
    agentDir,
    token: 'token-1',
    name: 'tester',
    key: readOrCreateKey(agentDir),
    time: scaleTime(0.01),
    log: silent,
    signal,
  })

it('keeps who it is', async () => {
  const identity = await enrolNow()
  expect(identity).toMatchObject({ name: 'tester', server_id: api.serverId })
  expect(readIdentity(agentDir)).toEqual(identity)
})

it('tries on with the same key while the API is away', async () => {
  api.enrolStatus = 503
  const enrolling = enrolNow()
  await api.until(() => api.enrolments.length >= 2)
  api.enrolStatus = 201
  await enrolling
  expect(new Set(api.enrolments.map((one) => JSON.stringify(one))).size).toBe(1)
})

it('gives up with a reason when the token is refused', async () => {
  api.enrolStatus = 401
  await expect(enrolNow()).rejects.toMatchObject({ name: 'Refused' })
  expect(readIdentity(agentDir)).toBeUndefined()
})

it('can be stopped', async () => {
  api.away = true
  const stop = new AbortController()
  const enrolling = enrolNow(stop.signal)
  stop.abort()
  await expect(enrolling).rejects.toMatchObject({ name: 'AbortError' })
})

it('keeps its key over restarts', () => {
  const first = readOrCreateKey(agentDir)
  expect(readOrCreateKey(agentDir).publicKey).toBe(first.publicKey)
  expect(readFileSync(join(agentDir, 'private-key.pem'), 'utf8')).toContain('PRIVATE KEY')
})
