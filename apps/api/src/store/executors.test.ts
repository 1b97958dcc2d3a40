import { localhostExecutor, sshExecutor, dockerExecutor, type ExecutorSettings } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSecrets, type Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'
import {
  createExecutor,
  deleteExecutor,
  getExecutor,
  getExecutorConfig,
  listExecutors,
  patchExecutor,
} from './executors.ts'
import { createQueueFor, listQueues } from './queues.ts'
import { syncConfigExecutors } from './sync-config-executors.ts'
import { testingDatabases } from './testing-databases.ts'

const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB'
const ssh = (more: object = {}): ExecutorSettings => ({
  executor_type: 'ssh',
  ...sshExecutor.parse({ host: 'a', username: 'u', host_key: hostKey, password: 'open sesame', ...more }),
})
const docker = (more: object = {}): ExecutorSettings => ({
  executor_type: 'docker',
  ...dockerExecutor.parse({
    image: 'registry.example/x',
    registry_auth: { username: 'u', password: 'p' },
    ...more,
  }),
})
const local = (more: object = {}): ExecutorSettings => ({
  executor_type: 'localhost',
  ...localhostExecutor.parse(more),
})
const validate = ({ executor_type, ...given }: Record<string, unknown>): ExecutorSettings =>
  executor_type === 'ssh'
    ? { executor_type, ...sshExecutor.parse(given) }
    : { executor_type: 'docker', ...dockerExecutor.parse(given) }

describe.each(testingDatabases)('executors on $name', ({ open }) => {
  let db: Database
  let secrets: Secrets
  let names = 0
  beforeAll(async () => {
    db = await open()
    secrets = await createSecrets(`one:${new Uint8Array(32).fill(3).toBase64()}`)
  })
  afterAll(() => db.close())

  async function create(settings: ExecutorSettings) {
    const row = await createExecutor(db, secrets, { name: `e${++names}`, settings })
    if (row === 'name_taken') throw new Error(row)
    return row
  }

  it('keep secrets apart, sealed, and open them only for the agent', async () => {
    for (const settings of [ssh(), docker()]) {
      const { name, settings: shown, has_secrets, config_id } = await create(settings)
      const field = settings.executor_type === 'ssh' ? 'password' : 'registry_auth'
      expect(has_secrets).toEqual([field])
      expect(shown).not.toHaveProperty(field)
      expect(JSON.stringify(await db.query('select * from docker_executors, ssh_executors'))).not.toContain(
        'sesame',
      )
      const { executor_type, ...fields } = settings
      expect(await getExecutorConfig(db, secrets, config_id)).toMatchObject({
        name,
        executor_type,
        source: 'rest',
        settings: fields,
      })
    }
  })

  it('refuse a name that is in use, until its executor is deleted', async () => {
    const { name, executor_id } = await create(local())
    expect(await createExecutor(db, secrets, { name, settings: local() })).toBe('name_taken')
    expect(await deleteExecutor(db, name)).toBe('deleted')
    expect(await getExecutor(db, name)).toBeUndefined()
    expect(await deleteExecutor(db, name)).toBe('unknown')
    const again = await createExecutor(db, secrets, { name, settings: local() })
    expect(again).not.toMatchObject({ executor_id })
  })

  it('make a new version with each change, and keep the old ones as they were', async () => {
    const { name, config_id } = await create(ssh({ timeout_sec: 5 }))
    const patched = await patchExecutor(db, secrets, {
      name,
      patch: { timeout_sec: 6, description: 'x' },
      validate,
    })
    expect(patched).toMatchObject({
      settings: { timeout_sec: 6, description: 'x', host: 'a' },
      has_secrets: ['password'],
    })
    expect(patched).not.toMatchObject({ config_id })
    const cleared = await patchExecutor(db, secrets, { name, patch: { description: null }, validate })
    expect((cleared as { settings: object }).settings).not.toHaveProperty('description')
    expect(await getExecutorConfig(db, secrets, config_id)).toMatchObject({
      settings: { timeout_sec: 5, password: 'open sesame' },
    })
  })

  it.each([
    { host: 'b' },
    { port: 23 },
    { username: 'v' },
    { host_key: `${hostKey}x` },
    { host_key: [hostKey, `${hostKey}x`] },
    { host_key: null, host_key_sha256: `SHA256:${'a'.repeat(43)}` },
    { host_key: null, enabled: false },
  ])('send no stored secret to another target: %o', async (change) => {
    const { name, config_id: before } = await create(ssh())
    const cleared = await patchExecutor(db, secrets, { name, patch: change, validate })
    expect(cleared).toMatchObject({ has_secrets: [], settings: { enabled: false } })
    const { config_id } = cleared as Exclude<typeof cleared, string>
    expect((await getExecutorConfig(db, secrets, config_id))!.settings).not.toHaveProperty('password')
    // What was submitted before goes where it was submitted to.
    expect((await getExecutorConfig(db, secrets, before))!.settings).toMatchObject({
      host: 'a',
      password: 'open sesame',
    })
  })

  it('keep secrets that are sent along with another target, and those alone', async () => {
    const { name } = await create(ssh({ private_key: 'the key', passphrase: 'of it' }))
    const patch = { host: 'b', password: 'new' }
    const patched = await patchExecutor(db, secrets, { name, patch, validate })
    expect(patched).toMatchObject({ has_secrets: ['password'], settings: { host: 'b', enabled: true } })
    const { config_id } = patched as Exclude<typeof patched, string>
    expect(await getExecutorConfig(db, secrets, config_id)).toMatchObject({ settings: patch })
  })

  it('are not moved away from their secrets by a patch that wants them enabled', async () => {
    const { name } = await create(ssh())
    const patch = { host: 'b', enabled: true }
    await expect(patchExecutor(db, secrets, { name, patch, validate })).rejects.toThrow(/password/)
    expect(await getExecutor(db, name)).toMatchObject({
      settings: { host: 'a' },
      has_secrets: ['password'],
    })
  })

  it.each([
    ['the same key with a comment', hostKey, `${hostKey} a comment`],
    ['one of two keys', [hostKey, `${hostKey}x`], hostKey],
    ['a first key', undefined, hostKey],
  ])('keep their secrets for %s', async (_, before, host_key) => {
    const { name } = await create(ssh({ host_key: before, enabled: before !== undefined }))
    const patched = await patchExecutor(db, secrets, { name, patch: { host_key }, validate })
    expect(patched).toMatchObject({ has_secrets: ['password'], settings: { host_key } })
  })

  it('send no registry password to another registry', async () => {
    const { name } = await create(docker())
    const same = await patchExecutor(db, secrets, {
      name,
      patch: { image: 'registry.example/y:2' },
      validate,
    })
    expect(same).toMatchObject({ has_secrets: ['registry_auth'] })
    const other = await patchExecutor(db, secrets, {
      name,
      patch: { image: 'elsewhere.example/y:2' },
      validate,
    })
    expect(other).toMatchObject({ has_secrets: [] })
  })

  describe('with credentials for an index', () => {
    const indexed = (index_url: string | null) => ({ index_url })
    const index_auth = { username: 'reader', password: 'of packages' }
    const here = { index_url: 'https://packages.example/simple', index_auth }

    it.each([
      ['another host', { index_url: 'https://elsewhere.example/simple' }],
      ['another port', { index_url: 'https://packages.example:8443/simple' }],
      ['another scheme', { index_url: 'http://packages.example/simple' }],
      ['a folder', { index_url: null, index_dir: '/srv/packages' }],
      ['none', indexed(null)],
    ])('send them to no other index: %s', async (_, patch) => {
      const { name, config_id: before } = await create(docker(here))
      const patched = await patchExecutor(db, secrets, { name, patch, validate })
      expect(patched).toMatchObject({ has_secrets: ['registry_auth'] })
      // What was submitted before goes where it was submitted to.
      expect((await getExecutorConfig(db, secrets, before))!.settings).toMatchObject(here)
    })

    it('keep them for another path of the same index, and those that are sent along', async () => {
      const { name } = await create(docker(here))
      const same = await patchExecutor(db, secrets, {
        name,
        patch: indexed('https://packages.example/other/simple'),
        validate,
      })
      expect(same).toMatchObject({ has_secrets: ['index_auth', 'registry_auth'] })
      const other = { index_url: 'https://new.example/simple', index_auth: { username: 'a', password: 'b' } }
      const moved = await patchExecutor(db, secrets, { name, patch: other, validate })
      expect(moved).toMatchObject({ has_secrets: ['index_auth', 'registry_auth'] })
      const { config_id } = moved as Exclude<typeof moved, string>
      expect((await getExecutorConfig(db, secrets, config_id))!.settings).toMatchObject(other)
    })

    it('never complete half of what is sent along with what another index had', async () => {
      const { name } = await create(docker(here))
      const patch = { index_url: 'https://new.example/simple', index_auth: { username: 'me' } }
      await expect(patchExecutor(db, secrets, { name, patch, validate })).rejects.toThrow(/password/)
    })
  })

  it('of the file are read-only, get a new version only when they changed, and go with their line', async () => {
    const file = (more: object) => [
      { name: 'file-ssh', source: 'config' as const, settings: ssh(more) },
      { name: 'file-local', source: 'default' as const, settings: local() },
    ]
    const read = () => getExecutor(db, 'file-ssh')
    await syncConfigExecutors(db, secrets, file({}))
    const first = await read()
    await syncConfigExecutors(db, secrets, file({}))
    expect(await read()).toEqual(first)
    await syncConfigExecutors(db, secrets, file({ password: 'other' }))
    const second = await read()
    expect(second!.executor_id).toBe(first!.executor_id)
    expect(second!.config_id).not.toBe(first!.config_id)
    expect(await patchExecutor(db, secrets, { name: 'file-ssh', patch: {}, validate })).toBe('read_only')
    expect(await deleteExecutor(db, 'file-ssh')).toBe('read_only')
    const { name } = await create(local())
    await syncConfigExecutors(db, secrets, [{ name: 'file-ssh', source: 'config', settings: local() }])
    expect(await read()).toMatchObject({ executor_type: 'localhost' })
    expect((await read())!.executor_id).not.toBe(first!.executor_id)
    expect(await getExecutor(db, 'file-local')).toBeUndefined()
    expect((await listExecutors(db)).map((row) => row.name)).toContain(name)
    expect(await getExecutorConfig(db, secrets, second!.config_id)).toMatchObject({
      name: 'file-ssh',
      executor_type: 'ssh',
    })
  })

  it('of the file are sealed anew when the key ring was replaced', async () => {
    const given = [{ name: 'ring', source: 'config' as const, settings: ssh() }]
    await syncConfigExecutors(db, secrets, given)
    const other = await createSecrets(`two:${new Uint8Array(32).fill(4).toBase64()}`)
    await syncConfigExecutors(db, other, given)
    const { config_id } = (await getExecutor(db, 'ring'))!
    expect(await getExecutorConfig(db, other, config_id)).toMatchObject({
      settings: { password: 'open sesame' },
    })
  })

  it('lose the secrets that no live job needs when they are deleted', async () => {
    const { name, config_id } = await create(ssh())
    await deleteExecutor(db, name)
    const config = await getExecutorConfig(db, secrets, config_id)
    expect(config!.settings).not.toHaveProperty('password')
  })

  describe('have queues', () => {
    it('one for each need, whatever the order of its labels and whoever asks', async () => {
      const { executor_id } = await create(local())
      const [one, other] = [createQueueFor(db), createQueueFor(db)]
      const ids = await Promise.all([
        one(executor_id, { a: '1', b: '2' }),
        one(executor_id, { b: '2', a: '1' }),
        other(executor_id, { b: '2', a: '1' }),
        one(executor_id, {}),
      ])
      expect(ids[1]).toBe(ids[0])
      expect(ids[2]).toBe(ids[0])
      expect(ids[3]).not.toBe(ids[0])
      expect(await listQueues(db)).toContainEqual({
        id: ids[0],
        agentId: null,
        executorId: executor_id,
        executorType: 'localhost',
        labels: { a: '1', b: '2' },
        enabled: true,
        limited: false,
        waitingKeys: [],
      })
    })
  })
})
