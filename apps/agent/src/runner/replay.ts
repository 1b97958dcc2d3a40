import { createHash } from 'node:crypto'
import { Lost } from '../backends/backend.ts'

/** The beginning of a stream, which an earlier process stored and which comes once more: compared, and kept from coming twice. */
export class Replay {
  readonly #stored: Buffer
  readonly #hash = createHash('sha256')
  #left: number

  /** @param stored the SHA-256 of its first `bytes` */
  constructor(bytes: number, stored: Buffer) {
    this.#left = bytes
    this.#stored = stored
  }

  /** Whether all of it has come. */
  get isOver(): boolean {
    return this.#left === 0
  }

  /**
   * What of these bytes is new.
   *
   * @throws {Lost} where it is another stream
   */
  take(bytes: Uint8Array): Uint8Array {
    if (this.#left === 0) return bytes
    const again = bytes.subarray(0, this.#left)
    this.#hash.update(again)
    this.#left -= again.length
    if (this.#left === 0 && !this.#hash.digest().equals(this.#stored))
      throw new Lost('what is left of its output is not what it had written before its agent died')
    return bytes.subarray(again.length)
  }
}
