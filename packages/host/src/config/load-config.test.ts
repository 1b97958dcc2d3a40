import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigRefused } from './config-refused.ts'
import { loadConfig, type Config } from './load-config.ts'

const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl'

let dir: string
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'errand-config-'))))
afterEach(() => rmSync(dir, { recursive: true }))

function write(name: string, text: string): string {
  const path = join(dir, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

function load(yaml: string, env: NodeJS.ProcessEnv = {}): Config {
  return loadConfig({ path: write('config.yaml', yaml), env })
}

/** The reasons, with the file's path left out. */
function reasons(yaml: string, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    load(yaml, env)
  } catch (error) {
    if (error instanceof ConfigRefused) return error.reasons.map((one) => one.replaceAll(`${dir}/`, ''))
    throw error
  }
  throw new Error('the configuration was taken')
}

const local = (lines: string): string => `code_executors:\n  local:\n    one:\n${indent(lines)}`
const ssh = (lines: string): string =>
  `code_executors:\n  ssh:\n    one:\n      host: h\n      username: u\n      host_key: ${hostKey}\n${indent(lines)}`
const indent = (lines: string): string => lines.replaceAll(/^/gm, '      ')

describe('the configuration printed in the specification', () => {
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
      password: "password"
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

  it('loads', () => {
    const { executors, file } = load(printed)
    expect(executors).toMatchObject([
      {
        name: 'docker_python_default',
        source: 'config',
        settings: { executor_type: 'docker', image: 'python:3.11-alpine', pids_limit: 50, network: 'none' },
      },
      {
        name: 'ssh_python_default',
        settings: { executor_type: 'ssh', port: 22, password: 'password', private_key: '~/.ssh/id_rsa' },
      },
      {
        name: 'local_python_default',
        settings: { executor_type: 'localhost', timeout_sec: 30, sandbox: 'required' },
      },
    ])
    expect(file.logging.main).toEqual({
      console_level: 'info',
      file_level: 'debug',
      file: 'logs/main.log',
      max_size_mb: 1000,
      max_backups: 3,
      max_age_days: 28,
    })
  })

  it('is refused without the host key, naming the line', () => {
    expect(reasons(printed.replace(/^.*host_key.*\n/m, ''))).toEqual([
      'config.yaml:12:5 code_executors.ssh.ssh_python_default.host_key: is required (or host_key_sha256), unless it is disabled: the target is never trusted on first use',
    ])
  })
})

describe('a configuration that is refused', () => {
  it.each([
    ['unknown keys', 'servers: {}', ['config.yaml:1:1 servers: is not a known key']],
    [
      'unknown keys below',
      local('timout_sec: 3'),
      ['config.yaml:4:7 code_executors.local.one.timout_sec: is not a known key'],
    ],
    [
      'unknown types of executor',
      'code_executors:\n  podman: {}',
      ['config.yaml:2:3 code_executors.podman: is not a known key'],
    ],
    [
      'missing fields',
      'code_executors:\n  docker:\n    one: {}',
      ['config.yaml:3:5 code_executors.docker.one.image: is required'],
    ],
    ['empty sections', 'server:\n', ['config.yaml:1:1 server: is empty']],
    [
      'words for numbers',
      local('timeout_sec: soon'),
      ['config.yaml:4:7 code_executors.local.one.timeout_sec: expected number, received string'],
    ],
    [
      'quoted numbers',
      local('timeout_sec: "30"'),
      ['config.yaml:4:7 code_executors.local.one.timeout_sec: expected number, received string'],
    ],
    [
      'numbers out of bounds',
      'server: {port: 65536}',
      ['config.yaml:1:10 server.port: Too big: expected number to be <=65535'],
    ],
    [
      'what is still to come',
      'code_executors: {docker: {one: {image: x, warm: 2}}}',
      ['config.yaml:1:43 code_executors.docker.one.warm: is not available yet'],
    ],
    ['a list for a map', '- 1', ['config.yaml:1:1 expected object, received array']],
    ['duplicate keys', 'server: {}\nserver: {}', ['config.yaml:2:1 Map keys must be unique']],
    [
      'duplicate executors',
      local('{}').replace('one:\n', 'one: {}\n    one:\n'),
      ['config.yaml:4:5 Map keys must be unique'],
    ],
    [
      'names that URLs cannot carry',
      'code_executors: {local: {a/b: {}}}',
      [
        'config.yaml:1:26 code_executors.local.a/b: must be 1 to 63 of A-Z a-z 0-9 _ . -, beginning with a letter or digit',
      ],
    ],
    [
      'one name for two executors',
      'code_executors:\n  docker: {one: {image: i}}\n  local: {one: {}}',
      ['config.yaml:3:11 code_executors.local.one: is the name of an executor in docker too'],
    ],
    [
      'the prototype as a name',
      'code_executors: {local: {__proto__: {}}}',
      ['config.yaml:1:26 __proto__ cannot be a key'],
    ],
    ['aliases', 'a: &x 1\nb: *x', ['config.yaml:2:4 Aliases are not used here: write the value out']],
    ['unknown tags', 'server: !js {}', ['config.yaml:1:9 Unresolved tag: !js']],
    [
      'what is not YAML',
      'server: {',
      ['config.yaml:1:10 Flow map in block collection must be sufficiently indented and end with a }'],
    ],
  ])('has %s', (_, yaml, expected) => {
    expect(reasons(yaml)).toEqual(expected)
  })

  it('is refused for all its reasons at once, in the environment too', () => {
    const yaml = 'server: {port: x}\nlogging: {main: {console_level: loud}}\ncolour: 1'
    expect(reasons(yaml, { ERRAND_RETENTION_DAYS: 'ten', ERRAND_LOCAL_AGENT: 'maybe' })).toEqual([
      'config.yaml:1:10 server.port: expected number, received string',
      'config.yaml:2:18 logging.main.console_level: expected one of "trace"|"debug"|"info"|"warn"|"error"|"fatal"|"silent"',
      'config.yaml:3:1 colour: is not a known key',
      'ERRAND_RETENTION_DAYS: expected number, received string',
      'ERRAND_LOCAL_AGENT: expected one of "on"|"off"',
    ])
  })

  it('is one that was named and is not there', () => {
    expect(() => loadConfig({ env: { ERRAND_CONFIG: join(dir, 'none.yaml') } })).toThrow(
      /none\.yaml: cannot be read \(ENOENT\)/,
    )
  })

  it('never shows a secret', () => {
    const message = reasons(
      `${ssh('password: s3cret\npassword: s3cret')}\n      port: s3cret\n s3cret: {`,
    ).join()
    expect(message).not.toContain('s3cret')
  })
})

describe('the environment in values', () => {
  it.each([
    ['a plain scalar', 'password: ${SECRET}', { password: 's3cret' }],
    ['a quoted scalar', 'password: "a ${SECRET} b"', { password: 'a s3cret b' }],
    ['several', 'password: ${SECRET}${SECRET}', { password: 's3crets3cret' }],
    ['digits where text is meant', 'password: ${DIGITS}', { password: '0123' }],
    ['digits where a number is meant', 'password: p\nport: ${PORT}', { port: 2222 }],
    ['a fraction', 'password: p\ntimeout_sec: ${HALF}', { timeout_sec: 0.5 }],
    ['a boolean', 'password: p\nenabled: ${NO}', { enabled: false }],
    ['a default', 'password: p\nport: ${NONE:-2200}', { port: 2200 }],
    ['a default for an empty one', 'password: ${EMPTY:-default}', { password: 'default' }],
    ['an empty one as it is', 'password: p\ndescription: "${EMPTY}"', { description: '' }],
    ['an escaped one', 'password: "$${SECRET}"', { password: '${SECRET}' }],
    ['items of lists', 'password: p\nhost_key: ["${HOST_KEY}"]', { host_key: [hostKey] }],
    ['YAML in a variable as text', 'password: ${YAML}', { password: 'x\nport: 1\n# {' }],
    ['no second round', 'password: ${NESTED}', { password: '${SECRET}' }],
  ])('takes %s', (_, lines, expected) => {
    const env = {
      SECRET: 's3cret',
      DIGITS: '0123',
      PORT: '2222',
      HALF: '0.5',
      NO: 'false',
      EMPTY: '',
      HOST_KEY: hostKey,
      YAML: 'x\nport: 1\n# {',
      NESTED: '${SECRET}',
    }
    const yaml = lines.includes('host_key') ? ssh(lines).replace(/^ *host_key: ssh.*\n/m, '') : ssh(lines)
    expect(load(yaml, env).executors[0]?.settings).toMatchObject(expected)
  })

  it.each([
    [
      'is not set',
      'password: ${NONE}',
      'config.yaml:7:7 code_executors.ssh.one.password: the environment variable NONE is not set',
    ],
    [
      'is not set, in the words given',
      'password: ${NONE:?put it in .env}',
      'config.yaml:7:7 code_executors.ssh.one.password: NONE: put it in .env',
    ],
    [
      'is empty where it must not',
      'password: ${EMPTY:?}',
      'config.yaml:7:7 code_executors.ssh.one.password: the environment variable EMPTY is not set',
    ],
    [
      'is not set, only once for a number',
      'password: p\nport: ${NONE}',
      'config.yaml:8:7 code_executors.ssh.one.port: the environment variable NONE is not set',
    ],
    [
      'is a number in quotes',
      'password: p\nport: "${PORT}"',
      'config.yaml:8:7 code_executors.ssh.one.port: expected number, received string',
    ],
    [
      'is no number',
      'password: p\nport: ${WORD}',
      'config.yaml:8:7 code_executors.ssh.one.port: expected number, received string',
    ],
  ])('refuses a variable that %s', (_, lines, expected) => {
    expect(reasons(ssh(lines), { EMPTY: '', PORT: '22', WORD: '22; rm' })).toEqual([expected])
  })

  it.each(['${', '${1A}', '${A-b}', '${A:+b}', '${}'])(
    'refuses %s, which is none of the three forms',
    (text) => {
      expect(reasons(ssh(`password: '${text}'`), { A: 'a' })).toEqual([
        expect.stringContaining('none of ${NAME}'),
      ])
    },
  )
})

describe('a secret in a file', () => {
  it('is read, relative to the configuration, without its final newline', () => {
    write('keys/id', '-----BEGIN\nx\n')
    const settings = load(ssh('private_key_file: keys/id')).executors[0]?.settings
    expect(settings).toMatchObject({ private_key: '-----BEGIN\nx' })
    expect(settings).not.toHaveProperty('private_key_file')
  })

  it('is read from the home directory, by a path from the environment', () => {
    write('home/id', 'x')
    const env = { HOME: join(dir, 'home'), KEY: '~/id' }
    expect(load(ssh('private_key_file: ${KEY}'), env).executors[0]?.settings).toMatchObject({
      private_key: 'x',
    })
  })

  it('is known for each secret key', () => {
    write('secret', 'postgres://sixteen-characters')
    const { settings, executors } = load(`
server: {admin_key_file: secret, secret_key_file: secret, database_url_file: secret}
code_executors:
  docker: {one: {image: i, registry_auth: {username: u, password_file: secret}}}
  ssh: {two: {host: h, username: u, host_key: ${hostKey}, password_file: secret, private_key: k, passphrase_file: secret}}
  local: {three: {index_url: https://index.example/, index_auth: {username: u, password_file: secret}}}
`)
    const secret = 'postgres://sixteen-characters'
    expect(settings).toMatchObject({ adminKey: secret, secretKey: secret, databaseUrl: secret })
    expect(executors).toMatchObject([
      { settings: { registry_auth: { username: 'u', password: secret } } },
      { settings: { password: secret, passphrase: secret } },
      { settings: { index_auth: { username: 'u', password: secret } } },
    ])
  })

  it.each([
    [
      'is not there',
      'password_file: none',
      'config.yaml:7:7 code_executors.ssh.one.password_file: cannot read none (ENOENT)',
    ],
    [
      'is empty',
      'password_file: empty',
      'config.yaml:7:7 code_executors.ssh.one.password_file: empty is empty',
    ],
    [
      'stands beside the secret',
      'password: x\npassword_file: empty',
      'config.yaml:8:7 code_executors.ssh.one.password_file: must not be given together with password',
    ],
    [
      'is not a path',
      'password: x\npassphrase_file: 3\nprivate_key: k',
      'config.yaml:8:7 code_executors.ssh.one.passphrase_file: must be the path of a file',
    ],
    [
      'is for a key that is no secret',
      'password: x\nport_file: empty',
      'config.yaml:8:7 code_executors.ssh.one.port_file: is not a known key',
    ],
  ])('is refused when it %s', (_, lines, expected) => {
    write('empty', '\n')
    expect(reasons(ssh(lines))).toEqual([expected])
  })
})

describe('without a code_executors section', () => {
  it('there are a Python of this host and one in a container', () => {
    expect(load('').executors).toMatchObject([
      {
        name: 'local_python_default',
        source: 'default',
        settings: { executor_type: 'localhost', runtime: 'python' },
      },
      {
        name: 'docker_python_default',
        source: 'default',
        settings: { executor_type: 'docker', runtime: 'python' },
      },
    ])
  })

  it('an empty one means none', () => {
    expect(load('code_executors: {}').executors).toEqual([])
  })
})
