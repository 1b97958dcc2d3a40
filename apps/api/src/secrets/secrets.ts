import { derive, parseKeyRing, type RingKey } from './key-ring.ts'
import { createWorkTokens, type WorkTokens } from './work-token.ts'

/** A secret as it lies in the database. */
export interface Sealed {
  key_id: string
  iv: Uint8Array
  ciphertext: Uint8Array
}

export interface Secrets extends WorkTokens {
  /** `place` names table, column and row: a sealed secret that is moved elsewhere can't be opened. */
  seal(place: string, plaintext: string): Promise<Sealed>
  /** Throws `CannotOpen` when the key is not in the ring, the place is another, or the bytes were changed. */
  open(place: string, sealed: Sealed): Promise<string>
}

/** AES-256-GCM under the first key of the ring; see `parseKeyRing`. */
export async function createSecrets(ring: string): Promise<Secrets> {
  const keys = await parseKeyRing(ring)
  const byId = new Map(await Promise.all(keys.map(async (key) => [key.id, await sealingKey(key)] as const)))
  const current = keys[0]!.id
  return {
    ...(await createWorkTokens(keys)),
    async seal(place, plaintext) {
      const iv = crypto.getRandomValues(new Uint8Array(12))
      const bytes = new TextEncoder().encode(plaintext)
      const ciphertext = await crypto.subtle.encrypt(sealedAt(place, iv), byId.get(current)!, bytes)
      return { key_id: current, iv, ciphertext: new Uint8Array(ciphertext) }
    },
    async open(place, { key_id, iv, ciphertext }) {
      const key = byId.get(key_id)
      if (key === undefined) throw new CannotOpen(`the key ring has no key ${key_id}`)
      try {
        const bytes = await crypto.subtle.decrypt(
          sealedAt(place, new Uint8Array(iv)),
          key,
          new Uint8Array(ciphertext),
        )
        return new TextDecoder().decode(bytes)
      } catch {
        throw new CannotOpen('a stored secret was changed, moved, or sealed with another key of the same id')
      }
    },
  }
}

/** A stored secret can't be had; the message has nothing of it. */
export class CannotOpen extends Error {
  override readonly name = 'CannotOpen'
}

function sealingKey(key: RingKey): Promise<CryptoKey> {
  return derive(key, 'secrets at rest', { name: 'AES-GCM', length: 256 }, ['encrypt', 'decrypt'])
}

function sealedAt(place: string, iv: Uint8Array<ArrayBuffer>) {
  return { name: 'AES-GCM', iv, additionalData: new TextEncoder().encode(place) }
}
