import { derive, type RingKey } from './key-ring.ts'

export interface WorkTokens {
  /** The bearer that lets an agent fetch one claim's input. */
  workToken(id: string, fence: number): Promise<string>
  /** The fence it was made for; undefined when it is not for this execution or not ours. */
  verifyWorkToken(id: string, token: string): Promise<{ fence: number } | undefined>
}

/** HMAC-SHA-256 over execution and fence: nothing to store, and worth nothing for any other claim. */
export async function createWorkTokens(keys: readonly RingKey[]): Promise<WorkTokens> {
  const signing = await Promise.all(keys.map(signingKey))
  return {
    async workToken(id, fence) {
      const signature = await crypto.subtle.sign('HMAC', signing[0]!, signed(id, String(fence)))
      return `${fence}.${new Uint8Array(signature).toBase64({ alphabet: 'base64url', omitPadding: true })}`
    },
    async verifyWorkToken(id, token) {
      const [, fence, base64] = /^(\d{1,15})\.([A-Za-z0-9_-]{43})$/.exec(token) ?? []
      if (fence === undefined || base64 === undefined) return undefined
      const signature = decode(base64)
      if (signature === undefined) return undefined
      // WebCrypto compares in constant time.
      for (const key of signing)
        if (await crypto.subtle.verify('HMAC', key, signature, signed(id, fence)))
          return { fence: Number(fence) }
      return undefined
    },
  }
}

function signingKey(key: RingKey): Promise<CryptoKey> {
  return derive(key, 'work tokens', { name: 'HMAC', hash: 'SHA-256' }, ['sign', 'verify'])
}

function signed(id: string, fence: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${id}\n${fence}`)
}

function decode(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(base64, { alphabet: 'base64url' })
  } catch {
    return undefined
  }
}
