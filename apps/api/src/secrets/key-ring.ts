/** One key of the ring: 256 random bits from which each purpose derives its own. */
export interface RingKey {
  id: string
  material: CryptoKey
}

/**
 * `id:base64key`, the current key first, older ones after commas: they still open what they sealed. Throws
 * `MalformedRing`, which never shows key material.
 */
export async function parseKeyRing(text: string): Promise<RingKey[]> {
  const keys = await Promise.all(text.split(',').map((part) => parseKey(part.trim())))
  if (new Set(keys.map(({ id }) => id)).size !== keys.length)
    throw new MalformedRing('two keys have the same id')
  return keys
}

async function parseKey(text: string): Promise<RingKey> {
  const [, id, base64] = /^([A-Za-z0-9._-]{1,64}):(.+)$/.exec(text) ?? []
  if (id === undefined || base64 === undefined)
    throw new MalformedRing('each key must be written as id:base64')
  const bytes = decode(base64)
  if (bytes.length !== 32) throw new MalformedRing(`key ${id} must have 32 bytes and has ${bytes.length}`)
  return { id, material: await crypto.subtle.importKey('raw', bytes, 'HKDF', false, ['deriveKey']) }
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.fromBase64(base64)
  } catch {
    throw new MalformedRing('a key is not base64')
  }
}

export class MalformedRing extends Error {
  override readonly name = 'MalformedRing'
}

/** A new ring of one key, as text. */
export function newKeyRing(): string {
  const id = crypto.getRandomValues(new Uint8Array(4)).toHex()
  return `${id}:${crypto.getRandomValues(new Uint8Array(32)).toBase64()}`
}

/** The key of one purpose: what leaks or breaks there says nothing about the others. */
export function derive(
  key: RingKey,
  purpose: string,
  algorithm: { name: 'AES-GCM'; length: number } | { name: 'HMAC'; hash: string },
  usages: ('encrypt' | 'decrypt' | 'sign' | 'verify')[],
): Promise<CryptoKey> {
  const info = new TextEncoder().encode(`errand ${purpose}`)
  const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info }
  return crypto.subtle.deriveKey(hkdf, key.material, algorithm, false, usages)
}
