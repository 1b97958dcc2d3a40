import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Executor } from '@errand/shared'
import { describe, expect, it, onTestFinished } from 'vitest'
import { apiForTest, databases } from './harness/for-test.ts'
import { RunningProcess } from './harness/running-process.ts'

const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl'
const secret = 'password-that-nobody-sees'

/** As the specification of the executor module prints it, and the host key, which is required here. */
const printed = `
code_executors:
  docker:
    docker_python_default:
      code_executor_path: "/usr/local/bin/python3.11"
      timeout_sec: 30
      image: "python:3.11-alpine"
      mem_limit_mb: 1024
      cpus_limit_cores: 1
      pids_limit: 50
  ssh:
    ssh_python_default:
      code_executor_path: "/usr/local/bin/python3.11"
      timeout_sec: 30
      host: "localhost"
      port: 22
      username: "user"
      password: "${secret}"
      private_key: "~/.ssh/id_rsa"
      host_key: "${hostKey}"
  local:
    local_python_default:
      code_executor_path: "/usr/local/bin/python3.11"
      timeout_sec: 30
logging:
  main:
    console_level: "info"
    file_level: "debug"
    file: "logs/main.log"
    max_size_mb: 1000
    max_backups: 3
    max_age_days: 28
`

describe.each(databases)('the configuration printed in the specification, on %s', (database) => {
  it('loads, and shows its executors without their secrets', async () => {
    const api = await apiForTest({ database, config: printed })
    const answer = await api.client.request('GET', '/executors')
    const text = await answer.text()
    expect(text).not.toContain(secret)
    expect(text).not.toContain('id_rsa')
    const { data } = JSON.parse(text) as { data: Executor[] }
    const byName = Object.fromEntries(data.map((one) => [one.name, one]))
    expect(Object.keys(byName).toSorted()).toEqual([
      'docker_python_default',
      'local_python_default',
      'ssh_python_default',
    ])
    const common = { source: 'config', has_secrets: [] }
    const path = '/usr/local/bin/python3.11'
    expect(byName['docker_python_default']).toMatchObject({
      ...common,
      executor_type: 'docker',
      settings: {
        code_executor_path: path,
        timeout_sec: 30,
        image: 'python:3.11-alpine',
        mem_limit_mb: 1024,
        cpus_limit_cores: 1,
        pids_limit: 50,
      },
    })
    expect(byName['ssh_python_default']).toMatchObject({
      ...common,
      executor_type: 'ssh',
      has_secrets: ['password', 'private_key'],
      settings: {
        code_executor_path: path,
        timeout_sec: 30,
        host: 'localhost',
        port: 22,
        username: 'user',
        host_key: hostKey,
      },
    })
    expect(byName['local_python_default']).toMatchObject({
      ...common,
      executor_type: 'localhost',
      settings: { code_executor_path: path, timeout_sec: 30 },
    })
    expect(api.log).not.toContain(secret)
  })
})

describe('a configuration that is not valid stops the start', () => {
  it.each([
    ['an unknown key at the top', 'code_executor: {}', ':1:1 code_executor: is not a known key'],
    [
      'an unknown key of an executor',
      printed.replace('timeout_sec: 30', 'time_limit_sec: 30'),
      ':6:7 code_executors.docker.docker_python_default.time_limit_sec: is not a known key',
    ],
    [
      'an unknown key of the logging',
      printed.replace('max_backups', 'max_backup'),
      ' logging.main.max_backup: is not a known key',
    ],
    [
      'an unknown type of executor',
      'code_executors: {kubernetes: {}}',
      ' code_executors.kubernetes: is not a known key',
    ],
    [
      'no image',
      printed.replace(/ *image:.*\n/, ''),
      ':4:5 code_executors.docker.docker_python_default.image: is required',
    ],
    [
      'no host',
      printed.replace(/ *host:.*\n/, ''),
      ' code_executors.ssh.ssh_python_default.host: is required',
    ],
    [
      'no host key',
      printed.replace(/ *host_key:.*\n/, ''),
      ' code_executors.ssh.ssh_python_default.host_key: is required (or host_key_sha256)',
    ],
    ['a negative number', printed.replace('pids_limit: 50', 'pids_limit: -1'), '.pids_limit: Too small'],
    ['zero', printed.replace('timeout_sec: 30', 'timeout_sec: 0'), '.timeout_sec: Too small'],
    ['a fraction', printed.replace('port: 22', 'port: 22.5'), '.port: '],
    ['a port that is none', printed.replace('port: 22', 'port: 65536'), '.port: Too big'],
    ['a word for a number', printed.replace('1024', 'much'), '.mem_limit_mb: expected number'],
    ['not a number', printed.replace('1024', '.nan'), '.mem_limit_mb: '],
    ['infinity', printed.replace('timeout_sec: 30', 'timeout_sec: .inf'), '.timeout_sec: '],
    ['a number in quotes', printed.replace('timeout_sec: 30', 'timeout_sec: "30"'), '.timeout_sec: expected'],
    ['a level that is none', printed.replace('"info"', '"loud"'), '.console_level: expected one of'],
    ['what is not YAML', 'code_executors: {', ':1:'],
    [
      'a duplicate executor',
      printed.replace('ssh_python_default', 'local_python_default'),
      ' is the name of',
    ],
  ])('%s', async (_, config, reason) => {
    const { path, exitCode, stderr } = await startWith(config)
    expect(exitCode).toBe(1)
    expect(stderr).toContain(`${path}:`)
    expect(stderr).toContain(reason)
    expect(stderr).not.toContain(secret)
  })
})

it('a key ring that is none stops the start, named and not shown', async () => {
  const { exitCode, stderr } = await startWith('', { ERRAND_SECRET_KEY: `first:${btoa(secret)}` })
  expect(exitCode).toBe(1)
  expect(stderr).toContain('errand: ERRAND_SECRET_KEY: key first must have 32 bytes and has')
  expect(stderr).not.toContain(btoa(secret))
})

async function startWith(
  config: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ path: string; exitCode: unknown; stderr: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'errand-config-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'config.yaml')
  writeFileSync(path, config)
  const api = new RunningProcess('the API', main, { cwd: dir, env: { ERRAND_PORT: '0', ...env } })
  onTestFinished(() => api.kill())
  return { path, exitCode: await api.ended(), stderr: api.log }
}

const main = resolve(import.meta.dirname, '../../apps/api/src/main.ts')
