import { dockerExecutor, localhostExecutor, sshExecutor } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { ConfiguredExecutor } from './configured-executors.ts'
import { localAgentPolicy } from './local-agent-policy.ts'

const host_key_sha256 = `SHA256:${'A'.repeat(43)}`
const configured = (settings: ConfiguredExecutor['settings']): ConfiguredExecutor => ({
  name: 'one',
  source: 'config',
  settings,
})
const local = (keys: object) => configured({ executor_type: 'localhost', ...localhostExecutor.parse(keys) })
const docker = (keys: object) => configured({ executor_type: 'docker', ...dockerExecutor.parse(keys) })
const ssh = (keys: object) =>
  configured({
    executor_type: 'ssh',
    ...sshExecutor.parse({ host: 'h', username: 'u', host_key_sha256, ...keys }),
  })

describe('the policy of the local agent', () => {
  it('allows what the operator wrote', () => {
    const executors = [
      local({ work_dir: '/srv/work', sandbox: 'none' }),
      local({ code_executor_path: '/opt/python', work_dir: '/srv/work' }),
      docker({ image: 'python:3.13', code_executor_path: '/opt/python' }),
      ssh({ private_key: '~/.ssh/id_rsa' }),
      ssh({ private_key: '/keys/one', index_dir: '/srv/wheels' }),
      local({ index_dir: '/srv/wheels' }),
      docker({ image: 'python:3.13', index_dir: '/srv/tarballs' }),
    ]
    expect(localAgentPolicy(executors, { sharesApiUser: true, root: false })).toMatchObject({
      allow_unsandboxed: 'config',
      shares_api_user: true,
      work_dirs: ['/srv/work'],
      code_executor_paths: ['/opt/python'],
      private_key_paths: ['~/.ssh/id_rsa', '/keys/one'],
      images: ['python:3.13'],
      index_dirs: ['/srv/wheels', '/srv/tarballs'],
    })
  })

  it('allows nothing of it when nothing was written, so that REST cannot ask for it', () => {
    expect(localAgentPolicy([local({})], { sharesApiUser: true, root: false })).toMatchObject({
      allow_unsandboxed: false,
      work_dirs: [],
      code_executor_paths: [],
      private_key_paths: [],
      images: [],
      index_dirs: [],
    })
  })

  it('never holds a key itself', () => {
    const key = '-----BEGIN OPENSSH PRIVATE KEY-----'
    const policy = localAgentPolicy([ssh({ private_key: key })], { sharesApiUser: true, root: true })
    expect(JSON.stringify(policy)).not.toContain('BEGIN')
  })

  it('counts as sharing the user of the API only where user code does: not as root', () => {
    const shares = (root: boolean) => localAgentPolicy([], { sharesApiUser: true, root }).shares_api_user
    expect([shares(false), shares(true)]).toEqual([true, false])
  })
})
