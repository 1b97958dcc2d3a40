/** SHA-256 of a key or token as it is sent, in hex: what is stored and looked up. 256 random bits need no salt. */
export async function hashOf(secret: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret))
  return new Uint8Array(digest).toHex()
}

/** `prefix_keyid_secret`: the middle part lets people find the row that a leaked key belongs to. */
export function newSecret(prefix: string, id: string): string {
  const random = crypto
    .getRandomValues(new Uint8Array(32))
    .toBase64({ alphabet: 'base64url', omitPadding: true })
  return `${prefix}_${id.replaceAll('-', '')}_${random}`
}
