import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { agentPolicy, encodeFrame, sizeLimits } from '@errand/shared'
import type { AgentMessage } from '@errand/shared'
import { readPolicy, refusal } from './policy.ts'
import { assignment } from './testing/agent-under-test.ts'

describe('readPolicy', () => {
  let dir: string
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'errand-policy-'))
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))
  const write = (text: string) => writeFileSync(join(dir, 'agent-policy.yaml'), text)

  it('has defaults where there is no file, or an empty one', () => {
    const defaults = agentPolicy.parse({})
    expect(readPolicy(dir)).toEqual(defaults)
    write('# nothing\n')
    expect(readPolicy(dir)).toEqual(defaults)
  })

  it.each([
    ['backend: [localhost]', /agent-policy\.yaml: \/backend is not a known field/],
    ['max_timeout_sec: -1', /agent-policy\.yaml: \/max_timeout_sec .*>0/],
    ['slots: {run: 1001}', /agent-policy\.yaml: \/slots\/run .*1000/],
    ['work_dirs: [1]', /agent-policy\.yaml: \/work_dirs\/0 /],
    ['a: b: c', /agent-policy\.yaml: .*line 1/],
  ])('names file, path and reason of %s', (text, message) => {
    write(text)
    expect(() => readPolicy(dir)).toThrow(message)
  })
})

it('caps slots so that a frame holds the inventory of all, and of 500 ended jobs', () => {
  const slots = 1_000
  expect(agentPolicy.parse({ slots: { run: slots } }).slots.run).toBe(slots)
  const held = Array.from({ length: slots + 500 }, () => ({
    id: '00000000-0000-4000-8000-000000000000',
    fence: Number.MAX_SAFE_INTEGER,
    state: 'accepted' as const,
  }))
  const inventory = { type: 'inventory', held } satisfies AgentMessage
  expect(encodeFrame(inventory).length).toBeLessThan(sizeLimits.frame)
})

describe('refusal', () => {
  const refused = (
    policy: object,
    settings: object = {},
    source: 'config' | 'default' | 'rest' = 'default',
  ) => {
    const job = assignment([])
    return refusal(agentPolicy.parse(policy), {
      ...job,
      executor: { ...job.executor, source, settings: { ...settings } },
    })
  }

  it('allows what the defaults allow', () => {
    expect(refused({})).toBeUndefined()
    expect(refused({}, { sandbox: 'preferred', executor_type: 'localhost' })).toBeUndefined()
  })

  it.each([
    [{ backends: ['docker'] }, {}, 'no localhost executors'],
    [{}, { sandbox: 'none' }, 'allow_unsandboxed'],
    [{ allow_unsandboxed: true, shares_api_user: true }, { sandbox: 'none' }, 'user of the API'],
    [{}, { work_dir: '/srv' }, 'work_dir /srv'],
    [{ code_executor_paths: ['/opt/python'] }, { code_executor_path: '/tmp/python' }, '/tmp/python'],
    [{ max_timeout_sec: 10 }, {}, 'timeout_sec 30'],
    [{ max_output_limit_kb: 10 }, {}, 'output_limit_kb 1024'],
    [{}, { privileged: true }, 'privileged'],
  ])('with policy %o of settings %o says %s', (policy, settings, words) => {
    expect(refused(policy, settings)).toContain(words)
  })

  it.each([
    [{ allow_unsandboxed: true }, { sandbox: 'none' }],
    [{ work_dirs: ['/srv'] }, { work_dir: '/srv' }],
    [{ code_executor_paths: ['/opt/python'] }, { code_executor_path: '/opt/python' }],
  ])('with policy %o allows settings %o', (policy, settings) => {
    expect(refused(policy, settings)).toBeUndefined()
  })

  it.each([
    [{ images: ['python:3'] }, 'docker', { image: 'evil:1' }, 'image evil:1'],
    [{ images: ['python:3'] }, 'docker', { image: 'python:3' }, 'allowed'],
    [{ images: ['docker.io/library/python:3'] }, 'docker', { image: 'python:3' }, 'allowed'],
    [{ images: ['python'] }, 'docker', { image: 'library/python:latest' }, 'allowed'],
    [
      { images: ['python:3'] },
      'docker',
      { image: 'example.org/library/python:3' },
      'does not list the image',
    ],
    [{}, 'docker', { image: '../containers/x' }, 'does not understand the executor'],
    [
      { max_mem_limit_mb: 512 },
      'docker',
      { image: 'a', mem_limit_mb: 8_192 },
      'mem_limit_mb 8192 is above the 512',
    ],
    [{ max_mem_limit_mb: 512 }, 'docker', { image: 'a' }, 'mem_limit_mb 1024 is above'],
    [{ max_cpus_limit_cores: 0.5 }, 'docker', { image: 'a' }, 'cpus_limit_cores 1 is above'],
    [{ max_pids_limit: 128, max_disk_limit_mb: 256 }, 'docker', { image: 'a' }, 'allowed'],
    [{}, 'docker', { image: 'any' }, 'allowed'],
    [{}, 'ssh', { private_key: '/root/.ssh/id' }, 'private_key /root/.ssh/id'],
    [{ private_key_paths: ['/k'] }, 'ssh', { private_key: '/k' }, 'allowed'],
    [{}, 'ssh', { private_key: 'the key itself' }, 'allowed'],
    [{}, 'ssh', { password: 'p', host_key: undefined, enabled: false }, 'no host key'],
  ] as const)('with policy %o of %s settings %o says %s', (policy, executor_type, given, words) => {
    const target = { host: 'h', username: 'u', host_key: 'ssh-ed25519 AAAA' }
    const { executor, limits } = assignment([])
    const settings = { ...(executor_type === 'ssh' && target), ...given }
    const said = refusal(agentPolicy.parse(policy), {
      limits,
      executor: { ...executor, executor_type, settings },
    })
    expect(said ?? 'allowed').toContain(words)
  })

  it.each([
    ['https://h/simple', 'allowed'],
    ['https://H:443/simple/', 'allowed'],
    ['https://h/simple/mine', 'allowed'],
    ['https://h/simple/../simple/x/', 'allowed'],
    ['https://h:8443/team/', 'allowed'],
    ['http://h/simple', 'does not list the index_url http://h/simple'],
    ['https://h/simpler', 'does not list'],
    ['https://h/', 'does not list'],
    ['https://h/simple/../admin', 'does not list'],
    ['https://h/simple/%2e%2e/admin', 'does not list'],
    ['https://h/simple/..%2fadmin', 'does not list'],
    ['https://h.evil.example/simple', 'does not list'],
    ['https://h:8443/', 'does not list'],
    ['https://evil.example/https://h/simple', 'does not list'],
  ])('of an index at %s says %s', (index_url, words) => {
    const policy = { index_urls: ['https://h/simple/', 'https://h:8443/team', 'no URL'] }
    expect(refused(policy, { index_url }) ?? 'allowed').toContain(words)
    expect(refused({}, { index_url })).toBeUndefined()
    expect(refused({ index_urls: [] }, { index_url })).toContain('does not list')
  })

  it('allows folders of packages that it lists, and no others', () => {
    const listed = { index_dirs: ['/srv/wheels'] }
    expect(refused(listed, { index_dir: '/srv/wheels' })).toBeUndefined()
    for (const index_dir of ['/srv/wheels/', '/srv/wheels/..', '/srv', '/etc'])
      expect(refused(listed, { index_dir })).toContain(`index_dir ${index_dir}`)
    expect(refused({}, { index_dir: '/srv/wheels' })).toContain('index_dir /srv/wheels')
  })

  it('lets executors of config.yaml alone run unsandboxed where the policy says so', () => {
    const policy = { allow_unsandboxed: 'config' }
    expect(refused(policy, { sandbox: 'none' }, 'config')).toBeUndefined()
    expect(refused(policy, { sandbox: 'none' }, 'rest')).toContain('config.yaml only')
    expect(refused({ allow_unsandboxed: true }, { sandbox: 'none' }, 'rest')).toBeUndefined()
  })
})
