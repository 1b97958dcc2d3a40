import { createHash } from 'node:crypto'
import { Lost } from './backend.ts'

/** The beginning of a stream, which was read before and comes once more: compared, and kept from coming twice. */
export class Replay {
  readonly #before: Buffer
  readonly #hash = createHash('sha256')
  #left: number

  /** @param before the SHA-256 of its first `bytes` */
  constructor(bytes: number, before: Buffer) {
    this.#left = bytes
    this.#before = before
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
    if (this.#left === 0 && !this.#hash.digest().equals(this.#before))
      throw new Lost('what is kept of what it wrote is not what had come before')
    return bytes.subarray(again.length)
  }
}
