import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import type { Algorithms, AuthContext } from 'ssh2'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { connect, presentedKeys } from './connect.ts'
import { describeHostKey } from './host-key.ts'
import { readPrivateKey } from './private-key.ts'
import { SshFailure } from './ssh-failure.ts'
import type { Target } from './target.ts'

const hostKeys = {
  ed25519: ssh2.utils.generateKeyPairSync('ed25519'),
  ecdsa: ssh2.utils.generateKeyPairSync('ecdsa', { bits: 256 }),
  other: ssh2.utils.generateKeyPairSync('ed25519'),
}
const blob = ({ public: line }: { public: string }): Buffer => Buffer.from(line.split(' ')[1]!, 'base64')

/** A server that speaks SSH and lets in whom `admits` says (undefined: it has answered itself); it counts what it is told. */
async function fakeServer(
  admits: (auth: AuthContext) => boolean | string[] | undefined,
  keys = [hostKeys.ed25519, hostKeys.ecdsa],
  algorithms: Algorithms = {},
): Promise<{ target: Target; attempts: string[]; errors: Error[]; connections: () => number }> {
  const attempts: string[] = []
  const errors: Error[] = []
  let connections = 0
  const server = new ssh2.Server({ hostKeys: keys.map((key) => key.private), algorithms }, (client) => {
    connections += 1
    client.on('error', (error) => errors.push(error))
    client.on('authentication', (auth) => {
      attempts.push(auth.method)
      const admitted = admits(auth)
      if (admitted === undefined) return
      if (admitted === true) auth.accept()
      else auth.reject(admitted === false ? ['publickey', 'password'] : (admitted as never[]))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const target: Target = {
    host: '127.0.0.1',
    port,
    username: 'someone',
    password: 'a password',
    privateKey: undefined,
    passphrase: undefined,
    pins: { keys: [blob(hostKeys.ed25519)] },
  }
  return { target, attempts, errors, connections: () => connections }
}

async function logsIn(target: Target): Promise<void> {
  const { privateKey, passphrase } = target
  const key = privateKey === undefined ? undefined : await readPrivateKey(privateKey, passphrase)
  const client = await connect(target, key, () => 0)
  const closed = once(client, 'close')
  client.end()
  await closed
}

it('a connection that breaks is reset, without anybody who listens', async () => {
  const { target, errors } = await fakeServer(() => true)
  const client = await connect(target, undefined, () => 0)
  const closed = new Promise<void>((resolve) => client.on('close', () => resolve()))
  client.emit('error', new Error('Keepalive timeout'))
  await closed
  await vi.waitFor(() => expect(errors).toEqual([expect.objectContaining({ code: 'ECONNRESET' })]))
})

async function failure(target: Target): Promise<SshFailure> {
  const error: unknown = await logsIn(target).catch((thrown: unknown) => thrown)
  if (!(error instanceof SshFailure)) throw new Error('it did not fail as it should', { cause: error })
  return error
}

describe('the host key', () => {
  it('that is not the pinned one is refused before anything is sent', async () => {
    const { target, attempts } = await fakeServer(() => true)
    const pins = { keys: [blob(hostKeys.other)] }
    const { code, message } = await failure({ ...target, pins })
    expect(code).toBe('host_key_mismatch')
    expect(message).toContain(describeHostKey(blob(hostKeys.ed25519)).sha256)
    expect(message).toMatch(/^host key mismatch: someone@127.0.0.1:\d+ presents ssh-ed25519 SHA256:/)
    expect(attempts).toEqual([])
  })

  it.each([
    ['is one of two', { keys: [blob(hostKeys.other), blob(hostKeys.ed25519)] }],
    ['is of the type that a server prefers less', { keys: [blob(hostKeys.ecdsa)] }],
    ['is pinned by its fingerprint', { keys: [], sha256: describeHostKey(blob(hostKeys.ed25519)).sha256 }],
    ['is pinned so, of another type', { keys: [], sha256: describeHostKey(blob(hostKeys.ecdsa)).sha256 }],
  ])('is taken when it %s', async (_, pins) => {
    const { target, attempts } = await fakeServer(() => true)
    await logsIn({ ...target, pins })
    expect(attempts).toEqual(['password'])
  })

  it('whose fingerprint is another is refused, with every one that was shown', async () => {
    const { target, attempts } = await fakeServer(() => true)
    const { sha256 } = describeHostKey(blob(hostKeys.other))
    const { code, message } = await failure({ ...target, pins: { keys: [], sha256 } })
    expect(code).toBe('host_key_mismatch')
    for (const key of [hostKeys.ed25519, hostKeys.ecdsa])
      expect(message).toContain(describeHostKey(blob(key)).sha256)
    expect(attempts).toEqual([])
  })

  it('can be read, of every type, without logging in', async () => {
    const { target, attempts } = await fakeServer(() => true)
    const keys = await presentedKeys(target)
    expect(keys).toEqual([describeHostKey(blob(hostKeys.ed25519)), describeHostKey(blob(hostKeys.ecdsa))])
    expect(keys[0]!.line).toBe(hostKeys.ed25519.public.trim())
    expect(attempts).toEqual([])
  })
})

describe('logging in', () => {
  const key = ssh2.utils.generateKeyPairSync('ed25519', {
    passphrase: 'two words',
    cipher: 'aes256-ctr',
    rounds: 1,
  })
  const [locked, passphrase] = [key.private, 'two words']
  const isOurs = (auth: AuthContext): boolean =>
    auth.method === 'publickey' && auth.key.data.equals(blob(key))

  it('tries the key first, then the password', async () => {
    const both = { privateKey: locked, passphrase }
    const byKey = await fakeServer(isOurs)
    await logsIn({ ...byKey.target, ...both })
    expect(new Set(byKey.attempts)).toEqual(new Set(['publickey']))
    const byPassword = await fakeServer(
      (auth) => auth.method === 'password' && auth.password === 'a password',
    )
    await logsIn({ ...byPassword.target, ...both })
    expect(byPassword.attempts).toEqual(['publickey', 'password'])
  })

  it('gives the password where a server asks for it as the only hidden question', async () => {
    const answers: string[][] = []
    const { target, attempts } = await fakeServer((auth) => {
      if (auth.method !== 'keyboard-interactive') return ['keyboard-interactive']
      auth.prompt([{ prompt: 'Password: ', echo: false }], (given) => {
        answers.push(given)
        auth.accept()
      })
      return undefined
    })
    await logsIn(target)
    expect(attempts).toEqual(['password', 'keyboard-interactive'])
    expect(answers).toEqual([['a password']])
  })

  it('that is refused says so', async () => {
    const { target } = await fakeServer(() => false)
    const { code, message } = await failure(target)
    expect(code).toBe('authentication_refused')
    expect(message).toContain('authentication refused')
    expect(message).not.toContain('a password')
  })

  it.each([
    ['without its passphrase', { privateKey: locked }],
    ['with a wrong one', { privateKey: locked, passphrase: 'other' }],
    ['that is none', { privateKey: 'no key' }],
    ['that is a public one', { privateKey: key.public }],
    ['whose file is not there', { privateKey: '/nowhere/id' }],
  ])('needs a key: %s it is not even tried', async (_, given) => {
    const { target, connections } = await fakeServer(() => true)
    const { code, message } = await failure({ ...target, ...given })
    expect(code).toBe('key_unreadable')
    expect(message).not.toContain('other')
    expect(connections()).toBe(0)
  })

  it('takes the key from a file', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'errand-key-'))
    onTestFinished(() => rmSync(dir, { recursive: true }))
    writeFileSync(join(dir, 'id'), locked)
    chmodSync(join(dir, 'id'), 0o600)
    const { target, connections } = await fakeServer(isOurs)
    await logsIn({ ...target, privateKey: join(dir, 'id'), passphrase })
    expect(connections()).toBe(1)
  })
})

describe('a target that cannot be reached', () => {
  const target: Target = {
    host: '127.0.0.1',
    port: 1,
    username: 'someone',
    password: 'x',
    privateKey: undefined,
    passphrase: undefined,
    pins: { keys: [] },
  }

  it.each([
    [{ port: 1 }, 'ECONNREFUSED'],
    [{ host: 'nobody.invalid' }, /ENOTFOUND|EAI_AGAIN/],
  ])('%o says why', async (given, reason) => {
    const { code, message } = await failure({ ...target, ...given })
    expect(code).toBe('unreachable')
    expect(message).toMatch(reason)
  })

  it('that has no cipher in common with us is not said to have another host key', async () => {
    const old = await fakeServer(() => true, undefined, { cipher: ['aes128-cbc'] })
    const { code, message } = await failure(old.target)
    expect(code).toBe('unreachable')
    expect(message).toContain('cipher')
  })

  it('is tried again when it hangs up on newcomers, as a busy sshd does', async () => {
    let connections = 0
    const server = createServer((socket) => {
      connections += 1
      socket.destroy()
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const { code } = await failure({ ...target, port: (server.address() as AddressInfo).port })
    expect(code).toBe('unreachable')
    expect(connections).toBeGreaterThan(3)
  })
})
