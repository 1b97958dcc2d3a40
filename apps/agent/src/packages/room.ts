import { Transform } from 'node:stream'
import { IndexFault } from './index-source.ts'

/** How many bytes an installation may still fetch. */
export class Room {
  readonly #most: number
  readonly #onBytes: (bytes: number) => void
  #left: number

  constructor(most: number, onBytes: (bytes: number) => void) {
    this.#most = most
    this.#left = most
    this.#onBytes = onBytes
  }

  /** @throws {IndexFault} where they do not fit */
  need(bytes: number): void {
    if (bytes <= this.#left) return
    const mb = (this.#most / 1024 / 1024).toFixed(0)
    throw new IndexFault(413, `the packages are larger than the ${mb} MB that one set may fetch`)
  }

  /** A stream that takes the room of what goes through it, and fails where there is none left. */
  meter(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        try {
          this.#take(chunk.length)
          done(null, chunk)
        } catch (error) {
          done(error as Error)
        }
      },
    })
  }

  #take(bytes: number): void {
    this.need(bytes)
    this.#left -= bytes
    this.#onBytes(bytes)
  }
}
