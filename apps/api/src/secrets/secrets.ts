/** A secret as it lies in the database. */
export interface Sealed {
  key_id: string
  iv: Uint8Array
  ciphertext: Uint8Array
}

export interface Secrets {
  /** `place` names table, column and row: a sealed secret that is moved elsewhere can't be opened. */
  seal(place: string, plaintext: string): Promise<Sealed>
  /** Throws when the key is not in the ring, the place is another, or the bytes were changed. */
  open(place: string, sealed: Sealed): Promise<string>
  /** The bearer that lets an agent fetch one claim's input. */
  workToken(id: string, fence: number): Promise<string>
  verifyWorkToken(id: string, token: string): Promise<{ fence: number } | undefined>
}

/** `ring` is `id:base64key`, the current one first, older ones after commas. Throws on a malformed ring. */
export function createSecrets(ring: string): Promise<Secrets> {
  throw new Error(`to come ${ring.length}`)
}
