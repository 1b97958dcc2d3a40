import { timeConstants } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getAgent, listAgents, patchAgent, findAgentKey, setDraining } from './agents.ts'
import { createApiKey, createVerifyKey, ensureAdminKey, listApiKeys, revokeApiKey } from './api-keys.ts'
import { audit } from './audit.ts'
import type { Database } from './database.ts'
import {
  createEnrollmentToken,
  deleteEnrollmentToken,
  enroll,
  listEnrollmentTokens,
} from './enrollment-tokens.ts'
import { openSession } from './sessions.ts'
import { testingDatabases } from './testing-databases.ts'
import { enrollAgent, report } from './testing-scene.ts'
import { revokeAgent } from './revoke-agent.ts'

describe.each(testingDatabases)('keys on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  describe('of the API', () => {
    it('say who a bearer is, and nothing to anybody else', async () => {
      const { key, id } = await createApiKey(db, { name: 'ci', role: 'runner', project: 'p' })
      const verifyKey = createVerifyKey(db)
      expect(await verifyKey(key)).toEqual({ key_id: id, name: 'ci', role: 'runner', project: 'p' })
      for (const other of ['', key.slice(0, -1), `${key}x`, key.toUpperCase(), 'a\0b'])
        expect(await verifyKey(other)).toBeUndefined()
      const listed = (await listApiKeys(db)).find((one) => one.id === id)
      expect(listed!.last_used_at).toBeInstanceOf(Date)
      expect(JSON.stringify(await db.query('select * from api_keys'))).not.toContain(key.slice(-20))
    })

    it('are read once for many that come at once', async () => {
      const { key } = await createApiKey(db, { name: 'busy', role: 'viewer', project: 'p' })
      let reads = 0
      const counted: Database = { ...db, query: (text, params) => (reads++, db.query(text, params)) }
      const verifyKey = createVerifyKey(counted)
      await Promise.all(Array.from({ length: 20 }, () => verifyKey(key)))
      await verifyKey(key)
      expect(reads).toBe(2)
    })

    it('end when they are revoked or expire, within the time they are believed', async () => {
      const { key, id } = await createApiKey(db, { name: 'short', role: 'admin', project: 'p' })
      const verifyKey = createVerifyKey(db, 20)
      expect(await verifyKey(key)).toBeDefined()
      expect(await revokeApiKey(db, id)).toBe(true)
      expect(await revokeApiKey(db, id)).toBe(false)
      await expect.poll(() => verifyKey(key)).toBeUndefined()
      const past = await createApiKey(db, {
        name: 'past',
        role: 'admin',
        project: 'p',
        expiresAt: new Date(Date.now() - 1),
      })
      expect(await verifyKey(past.key)).toBeUndefined()
    })

    it('include one bootstrap key, and replacing it ends the one before', async () => {
      const verifyKey = createVerifyKey(db, 1)
      await ensureAdminKey(db, 'sixteen or more!')
      await ensureAdminKey(db, 'sixteen or more!')
      expect(await verifyKey('sixteen or more!')).toMatchObject({ role: 'admin', project: 'default' })
      await ensureAdminKey(db, 'another one, longer')
      await expect.poll(() => verifyKey('sixteen or more!')).toBeUndefined()
      await ensureAdminKey(db, 'sixteen or more!')
      expect(await verifyKey('sixteen or more!')).toMatchObject({ role: 'admin' })
      await expect(ensureAdminKey(db, 'too short')).rejects.toThrow(RangeError)
    })
  })

  describe('for enrolment', () => {
    const agent = (name: string, publicKey = 'k'.repeat(44)) => ({ name, publicKey })

    it('make one agent, once', async () => {
      const { token, id } = await createEnrollmentToken(db, { labels: { zone: 'a' }, expiresInSec: 60 })
      const first = await enroll(db, { token, ...agent('host-1') })
      expect(first).toMatchObject({ name: 'host-1' })
      expect(await enroll(db, { token, ...agent('host-2') })).toBe('refused')
      expect(await enroll(db, { token, ...agent('host-1', 'x'.repeat(44)) })).toBe('refused')
      expect(await enroll(db, { token, ...agent('host-1') })).toEqual(first)
      const { agentId } = first as { agentId: string }
      expect(await getAgent(db, agentId)).toMatchObject({
        labels: { zone: 'a' },
        status: 'offline',
        jobs_held: 0,
      })
      expect((await listEnrollmentTokens(db)).find((one) => one.id === id)!.used_at).toBeInstanceOf(Date)
    })

    it('make one agent of many that use one token at once', async () => {
      const { token } = await createEnrollmentToken(db, { labels: {}, expiresInSec: 60 })
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, n) => enroll(db, { token, ...agent(`race-${n}`) })),
      )
      expect(answers.filter((one) => typeof one !== 'string')).toHaveLength(1)
    })

    it('are refused for another name, expired, deleted and unknown, and a name in use is told', async () => {
      const named = await createEnrollmentToken(db, { name: 'only-me', labels: {}, expiresInSec: 60 })
      expect(await enroll(db, { token: named.token, ...agent('somebody') })).toBe('refused')
      const expired = await createEnrollmentToken(db, { labels: {}, expiresInSec: -1 })
      expect(await enroll(db, { token: expired.token, ...agent('late') })).toBe('refused')
      const deleted = await createEnrollmentToken(db, { labels: {}, expiresInSec: 60 })
      expect(await deleteEnrollmentToken(db, deleted.id)).toBe(true)
      expect(await deleteEnrollmentToken(db, deleted.id)).toBe(false)
      expect(await enroll(db, { token: deleted.token, ...agent('gone') })).toBe('refused')
      await enroll(db, { token: named.token, ...agent('only-me') })
      const other = await createEnrollmentToken(db, { labels: {}, expiresInSec: 60 })
      expect(await enroll(db, { token: other.token, ...agent('only-me') })).toBe('name_taken')
      expect(await enroll(db, { token: other.token, ...agent('free-name') })).toMatchObject({
        name: 'free-name',
      })
    })
  })

  describe('of agents', () => {
    it('are known until they are revoked, and then the name is free', async () => {
      const agentId = await enrollAgent(db)
      expect(await findAgentKey(db, agentId)).toHaveLength(44)
      const session = { agentId, bootId: 'b', spoolId: 's', report, leaseMs: 60_000 }
      expect(await openSession(db, session)).toMatchObject({ epoch: 1, certain: true, draining: false })
      expect(await getAgent(db, agentId)).toMatchObject({ status: 'online', report })
      expect(await setDraining(db, agentId, true)).toMatchObject({ status: 'draining' })
      expect(await patchAgent(db, agentId, { name: 'renamed', labels: { a: 'b' } })).toMatchObject({
        name: 'renamed',
        labels: { a: 'b' },
      })
      expect(await patchAgent(db, agentId, {})).toMatchObject({ name: 'renamed' })
      const other = await enrollAgent(db)
      expect(await patchAgent(db, other, { name: 'renamed' })).toBe('name_taken')
      expect(await revokeAgent(db, agentId, timeConstants)).toEqual([])
      expect(await revokeAgent(db, agentId, timeConstants)).toBe('unknown')
      expect(await findAgentKey(db, agentId)).toBeUndefined()
      expect(await openSession(db, session)).toBe('revoked')
      expect(await openSession(db, { ...session, agentId: crypto.randomUUID() })).toBe('unknown')
      expect((await listAgents(db)).map((one) => one.agent_id)).not.toContain(agentId)
      expect(await patchAgent(db, other, { name: 'renamed' })).toMatchObject({ name: 'renamed' })
    })
  })

  it('leave a trace of who used them', async () => {
    await audit(db, { actor: 'me', action: 'executor.delete', target: 'x', detail: { a: 1 } })
    expect(await db.query('select actor, action, target, detail from audit_log')).toContainEqual({
      actor: 'me',
      action: 'executor.delete',
      target: 'x',
      detail: { a: 1 },
    })
  })
})
