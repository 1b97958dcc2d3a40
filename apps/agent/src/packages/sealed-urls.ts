import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'

/**
 * Makes tokens of URLs that nobody else can make or read: what comes back was named by a page that we have rewritten,
 * however many files that page names, and nothing of them need be kept. The same URL has always the same token.
 */
export class SealedUrls {
  readonly #key = randomBytes(32)
  readonly #nonceKey = randomBytes(32)

  seal(url: string): string {
    const nonce = createHmac('sha256', this.#nonceKey).update(url).digest().subarray(0, nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce)
    const sealed = Buffer.concat([cipher.update(url), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64url')
  }

  /** The URL; undefined where the token is none of ours. */
  open(token: string): URL | undefined {
    const bytes = Buffer.from(token, 'base64url')
    if (bytes.length <= nonceBytes + tagBytes) return undefined
    const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, nonceBytes))
    decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes))
    try {
      const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()])
      return new URL(text.toString())
    } catch {
      return undefined
    }
  }
}

const nonceBytes = 12
const tagBytes = 16
