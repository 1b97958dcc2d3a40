import { createHash } from 'node:crypto'
import type { SshExecutor } from '@errand/shared'
import { pinsOf } from './host-key.ts'
import type { HostKeyPins } from './host-key.ts'

/** A login on a remote system, and how we know that it is that system. */
export interface Target {
  host: string
  port: number
  username: string
  /** The key itself, or a path on the agent's host that its policy lists. */
  privateKey: string | undefined
  passphrase: string | undefined
  password: string | undefined
  pins: HostKeyPins
}

export function targetOf(settings: SshExecutor): Target {
  const { host, port, username, private_key, passphrase, password } = settings
  return { host, port, username, password, passphrase, privateKey: private_key, pins: pinsOf(settings) }
}

/** The same for targets that may share connections: who may use one could have opened it. Tells no secret. */
export function targetKey(target: Target): string {
  return createHash('sha256').update(JSON.stringify(target)).digest('hex')
}

/** For people. */
export function describeTarget({ username, host, port }: Target): string {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
  // Who looks at host keys is nobody yet.
  return username === '' ? address : `${username}@${address}`
}
