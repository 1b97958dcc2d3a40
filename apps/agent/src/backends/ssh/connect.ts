import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import ssh2 from 'ssh2'
import type { Client, ConnectConfig, ParsedKey } from 'ssh2'
import { authenticator } from './authenticator.ts'
import { describeHostKey, hostKeyAlgorithms, isPinned, preferredAlgorithms } from './host-key.ts'
import type { HostKeyAlgorithm, PresentedKey } from './host-key.ts'
import { openSocket } from './open-socket.ts'
import { SshFailure } from './ssh-failure.ts'
import { describeTarget } from './target.ts'
import type { Target } from './target.ts'

/**
 * Logs in to a target once its host key has proved to be a pinned one; before that nothing is sent. A connection that
 * is dropped before the handshake is tried again: a busy sshd drops some (MaxStartups).
 *
 * @throws {SshFailure}
 */
export async function connect(
  target: Target,
  key: ParsedKey | undefined,
  random: () => number,
): Promise<Client> {
  for (let attempt = 1; ; attempt++)
    try {
      return await logIn(target, key)
    } catch (error) {
      if (!(error instanceof Dropped)) throw error
      if (attempt === mostAttempts) throw new SshFailure('unreachable', error.message)
      await sleep(random() * firstPauseMs * 2 ** attempt)
    }
}

const mostAttempts = 6
const firstPauseMs = 50

/** The host keys that a target shows, one of each type; nothing else is sent. */
export async function presentedKeys(target: Pick<Target, 'host' | 'port'>): Promise<PresentedKey[]> {
  const stranger = {
    ...target,
    username: '',
    password: undefined,
    privateKey: undefined,
    passphrase: undefined,
  }
  const shown: PresentedKey[] = []
  for (const algorithms of hostKeyAlgorithms) {
    try {
      await handshake({ ...stranger, pins: { keys: [] } }, algorithms, undefined)
    } catch (error) {
      if (error instanceof WrongHostKey) shown.push(error.presented)
      else if (!(error instanceof NoCommonAlgorithm)) throw error
    }
  }
  return shown
}

async function logIn(target: Target, key: ParsedKey | undefined): Promise<Client> {
  // Of a pinned fingerprint nobody knows the type: each is asked for until one matches.
  const choices = target.pins.sha256 === undefined ? [preferredAlgorithms(target.pins)] : hostKeyAlgorithms
  const presented: PresentedKey[] = []
  let uncommon = ''
  for (const algorithms of choices)
    try {
      return await handshake(target, algorithms, authenticator({ ...target, key }))
    } catch (error) {
      if (error instanceof WrongHostKey) presented.push(error.presented)
      else if (error instanceof NoCommonAlgorithm) uncommon = error.message
      else throw error
    }
  if (presented.length === 0)
    throw new SshFailure('unreachable', `cannot reach ${describeTarget(target)}: ${uncommon}`)
  throw mismatch(target, presented)
}

function mismatch(target: Target, presented: readonly PresentedKey[]): SshFailure {
  const shown = presented.map(({ type, sha256 }) => `${type} ${sha256}`).join(', ')
  return new SshFailure(
    'host_key_mismatch',
    `host key mismatch: ${describeTarget(target)} presents ${shown}, which is not what the executor pins; nothing was sent to it`,
  )
}

function handshake(
  target: Target,
  algorithms: readonly HostKeyAlgorithm[],
  authHandler: ConnectConfig['authHandler'],
): Promise<Client> {
  return openSocket(target, connectTimeoutMs).then(
    (sock) =>
      new Promise((resolve, reject) => {
        const client = new ssh2.Client()
        let presented: PresentedKey | undefined
        let pinned = false
        const fail = (error: Error): void => {
          client.destroy()
          reject(error)
        }
        client.once('ready', () => {
          client.removeAllListeners('close').removeAllListeners('error')
          resolve(Object.assign(client, { destroy: () => reset(client, sock) }))
          // Comes before a close, and may come before anybody else listens.
          client.on('error', () => client.destroy())
        })
        client.on('error', (error: Error & { level?: string; code?: string | number }) =>
          fail(presented && !pinned ? new WrongHostKey(presented) : failureOf(error, target, presented)),
        )
        client.once('close', () => fail(new Dropped(target, 'it closed the connection')))
        client.connect({
          sock,
          username: target.username,
          hostVerifier: (blob: Buffer) => {
            presented = describeHostKey(blob)
            pinned = isPinned(blob, target.pins)
            return pinned
          },
          algorithms: { serverHostKey: [...algorithms] },
          authHandler,
          readyTimeout: readyTimeoutMs,
          keepaliveInterval: keepaliveMs,
          keepaliveCountMax: 3,
        })
      }),
  )
}

/** What the kernel has not sent yet it must not send later: what it asks for would be done twice. */
function reset(client: Client, sock: Socket): Client {
  sock.resetAndDestroy()
  // The above would wait until all is sent.
  sock.destroy()
  return client
}

const connectTimeoutMs = 10_000
const readyTimeoutMs = 20_000
const keepaliveMs = 5_000

/** Too many refused attempts, and none left: the codes of RFC 4253 with which servers hang up. */
const refusedCodes = new Set<unknown>([2, 14])

function failureOf(
  error: Error & { level?: string; code?: string | number },
  target: Target,
  presented: PresentedKey | undefined,
): Error {
  const where = describeTarget(target)
  if (error.level === 'client-authentication' || (presented && refusedCodes.has(error.code)))
    return new SshFailure(
      'authentication_refused',
      `authentication refused: ${where} takes none of the executor's credentials`,
    )
  if (error.level === 'client-timeout')
    return new SshFailure(
      'unreachable',
      `cannot reach ${where}: no SSH handshake within ${readyTimeoutMs / 1_000} s`,
    )
  if (presented)
    return new SshFailure('unreachable', `cannot reach ${where}: the connection ended: ${error.message}`)
  if (error.level === 'handshake') return new NoCommonAlgorithm(error.message)
  return new Dropped(target, error.message)
}

/** Before anything but greetings came: worth another attempt. */
class Dropped extends Error {
  constructor(target: Target, reason: string) {
    super(`cannot reach ${describeTarget(target)}: ${reason}`)
  }
}

class NoCommonAlgorithm extends Error {}

class WrongHostKey extends Error {
  readonly presented: PresentedKey
  constructor(presented: PresentedKey) {
    super('wrong host key')
    this.presented = presented
  }
}
