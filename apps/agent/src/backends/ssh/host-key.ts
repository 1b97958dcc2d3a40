import { createHash } from 'node:crypto'

/** The host keys that a target may show: their blobs, or the fingerprint of one. */
export interface HostKeyPins {
  keys: readonly Buffer[]
  sha256?: string | undefined
}

export interface PresentedKey {
  /** `ssh-ed25519`. */
  type: string
  /** `SHA256:…`, as ssh-keygen shows it. */
  sha256: string
  /** The OpenSSH public key line. */
  line: string
}

/** What an executor's `host_key` (one line or two) or `host_key_sha256` pins. */
export function pinsOf(settings: {
  host_key?: string | readonly string[] | undefined
  host_key_sha256?: string | undefined
}): HostKeyPins {
  const lines = settings.host_key === undefined ? [] : [settings.host_key].flat()
  return {
    keys: lines.map((line) => Buffer.from(line.split(' ')[1]!, 'base64')),
    sha256: settings.host_key_sha256,
  }
}

export function isPinned(blob: Buffer, pins: HostKeyPins): boolean {
  return pins.keys.some((key) => key.equals(blob)) || describeHostKey(blob).sha256 === pins.sha256
}

/** The key as the protocol carries it, for people. */
export function describeHostKey(blob: Buffer): PresentedKey {
  const type = typeOf(blob)
  const digest = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')
  return { type, sha256: `SHA256:${digest}`, line: `${type} ${blob.toString('base64')}` }
}

/** Each group are the names under which keys of one type are asked for. */
export const hostKeyAlgorithms = [
  ['ssh-ed25519'],
  ['ecdsa-sha2-nistp256'],
  ['ecdsa-sha2-nistp384'],
  ['ecdsa-sha2-nistp521'],
  ['rsa-sha2-512', 'rsa-sha2-256'],
] as const
export type HostKeyAlgorithm = (typeof hostKeyAlgorithms)[number][number]

/**
 * Those of the pinned keys first: a server shows the first that it has. All of them where only a fingerprint is
 * pinned, whose type nobody knows.
 */
export function preferredAlgorithms(pins: HostKeyPins): HostKeyAlgorithm[] {
  const pinned = new Set(pins.keys.map(typeOf))
  const isPinnedType = (group: readonly string[]): boolean =>
    group.some((name) => pinned.has(name.startsWith('rsa-') ? 'ssh-rsa' : name))
  return [
    ...hostKeyAlgorithms.filter(isPinnedType),
    ...hostKeyAlgorithms.filter((group) => !isPinnedType(group)),
  ].flat()
}

function typeOf(blob: Buffer): string {
  return blob.toString('latin1', 4, 4 + blob.readUInt32BE(0))
}
