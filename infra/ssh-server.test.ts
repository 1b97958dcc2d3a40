import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { ownedDirectory } from './owned-directory.ts'
import { startSshServer, type SshServer } from './ssh-server.ts'

let server: SshServer
/** Of the client: keys, known hosts, answers to what it asks. */
let dir: string
beforeEach(async () => {
  dir = ownedDirectory('errand-ssh-client-')
  server = await startSshServer()
  writeFileSync(join(dir, 'known'), `[${server.host}]:${server.port} ${server.hostKey}\n`)
  return async () => {
    await server.stop()
    rmSync(dir, { recursive: true })
  }
})

interface Login {
  as?: string
  key?: string
  /** What it gets where it asks for a password or passphrase. */
  answer?: string
}

/** What the real client is to be started with. */
function client({ as = server.username, key, answer = '' }: Login = {}): [string[], NodeJS.ProcessEnv] {
  const keyFile = join(dir, 'key')
  writeFileSync(keyFile, key ?? '', { mode: 0o600 })
  writeFileSync(join(dir, 'ask'), '#!/bin/sh\necho "$ANSWER"\n', { mode: 0o700 })
  const options = {
    UserKnownHostsFile: join(dir, 'known'),
    StrictHostKeyChecking: 'yes',
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    PreferredAuthentications: key === undefined ? 'password' : 'publickey',
    NumberOfPasswordPrompts: '1',
    LogLevel: 'ERROR',
  }
  const args = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  return [
    ['-F', 'none', '-i', keyFile, '-p', String(server.port), ...args, `${as}@${server.host}`],
    { ...process.env, SSH_ASKPASS: join(dir, 'ask'), SSH_ASKPASS_REQUIRE: 'force', ANSWER: answer },
  ]
}

function ssh(login: Login, command: string): { status: number | null; stdout: string; stderr: string } {
  const [args, env] = client(login)
  const { status, stdout, stderr } = spawnSync('ssh', [...args, command], { env, encoding: 'utf8' })
  return { status, stdout: stdout.trim(), stderr }
}

/** Starts a program on the target that appends to a file there until it is ended; returns the growing size. */
async function growing(): Promise<() => number> {
  const [args, env] = client({ key: server.privateKey })
  const program = 'while echo beat >>/tmp/beats; do sleep 0.02; done'
  const session = spawn('ssh', [...args, program], { env, stdio: 'ignore' })
  onTestFinished(() => void session.kill())
  const size = (): number => readFileSync(join(server.tmp, 'beats')).length
  await vi.waitFor(() => expect(size()).toBeGreaterThan(0), 10_000)
  return size
}

describe('startSshServer', () => {
  it('lets an unprivileged user in by key, protected key and password', () => {
    const { privateKey, protectedKey, passphrase, password } = server
    const isOurs = { status: 0, stdout: '60900 errand /home/errand' }
    const ask = 'echo $(id -u) $(id -un) $PWD'
    expect(ssh({ key: privateKey }, ask)).toMatchObject(isOurs)
    expect(ssh({ key: protectedKey, answer: passphrase }, ask)).toMatchObject(isOurs)
    expect(ssh({ answer: password }, ask)).toMatchObject(isOurs)
  })

  it('lets root in by the same means', () => {
    expect(ssh({ as: 'root', key: server.privateKey }, 'id -u')).toMatchObject({ status: 0, stdout: '0' })
    expect(ssh({ as: 'root', answer: server.password }, 'id -u')).toMatchObject({ status: 0, stdout: '0' })
  })

  it('lets nobody in by a wrong password, passphrase or key', () => {
    const refused = { status: 255, stdout: '' }
    expect(ssh({ answer: 'guess' }, 'id')).toMatchObject(refused)
    expect(ssh({ key: server.protectedKey, answer: 'guess' }, 'id')).toMatchObject(refused)
    const stranger = join(dir, 'stranger')
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', stranger])
    expect(ssh({ key: readFileSync(stranger, 'utf8') }, 'id')).toMatchObject(refused)
    expect(server.log()).toContain('Failed password for errand')
  })

  it('tells its fingerprint', () => {
    writeFileSync(join(dir, 'host.pub'), `${server.hostKey}\n`)
    const { stdout } = spawnSync('ssh-keygen', ['-lf', join(dir, 'host.pub')], { encoding: 'utf8' })
    expect(stdout).toContain(server.fingerprint)
  })

  it('is another host after a change of its key, on the same port', async () => {
    const { hostKey } = server
    await server.changeHostKey()
    expect(server.hostKey).not.toBe(hostKey)
    const { status, stderr } = ssh({ key: server.privateKey }, 'id')
    expect([status, stderr]).toEqual([255, expect.stringContaining('Host key verification failed')])
    expect(server.log()).not.toContain('Accepted')
    writeFileSync(join(dir, 'known'), `[${server.host}]:${server.port} ${server.hostKey}\n`)
    expect(ssh({ key: server.privateKey }, 'id').status).toBe(0)
  })

  it('ends sessions when it is killed, and what they started goes on', async () => {
    const size = await growing()
    await server.kill()
    expect(ssh({ key: server.privateKey }, 'id').status).toBe(255)
    const before = size()
    await vi.waitFor(() => expect(size()).toBeGreaterThan(before), 10_000)
    await server.start()
    expect(ssh({ key: server.privateKey }, 'tail -n 1 /tmp/beats').stdout).toBe('beat')
  })

  it('ends everything in a crash, and keeps the files', async () => {
    const size = await growing()
    await server.crash()
    const before = size()
    await server.start()
    expect(ssh({ key: server.privateKey }, 'pgrep -c sleep; stat -c %s /tmp/beats').stdout).toBe(
      `0\n${before}`,
    )
  })

  it('answers nothing while it is paused', async () => {
    const size = await growing()
    await server.pause()
    const before = size()
    await vi.waitFor(() => expect(size()).toBeGreaterThan(before), 10_000)
    const [args, env] = client({ key: server.privateKey })
    const waiting = spawn('ssh', [...args, 'true'], { env, stdio: 'ignore' })
    const end = new Promise((resolve) => waiting.once('exit', resolve))
    const silence = new Promise((resolve) => setTimeout(resolve, 300, 'silence'))
    expect(await Promise.race([end, silence])).toBe('silence')
    await server.resume()
    expect(await end).toBe(0)
  })

  it('gives each its own target', async () => {
    const other = await startSshServer()
    onTestFinished(() => other.stop())
    ssh({ key: server.privateKey }, 'touch /tmp/here ~/here')
    expect([server.tmp, server.home].map((place) => existsSync(join(place, 'here')))).toEqual([true, true])
    expect([other.tmp, other.home, '/tmp'].map((place) => existsSync(join(place, 'here')))).toEqual([
      false,
      false,
      false,
    ])
    expect(ssh({ key: server.privateKey }, 'ps -e -o comm=').stdout).not.toContain('node')
  })

  it('leaves nothing when it is stopped', async () => {
    const one = await startSshServer()
    await one.stop()
    expect(existsSync(dirname(one.tmp))).toBe(false)
  })
})
