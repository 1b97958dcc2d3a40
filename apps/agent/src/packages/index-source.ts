import type { Readable } from 'node:stream'
import type { Room } from './room.ts'

/** What is behind an index proxy: an index of the network, or a folder of this host. */
export interface IndexSource {
  /**
   * What the index has of a package: Python's simple page, npm's metadata.
   *
   * @throws {IndexFault}
   */
  page(name: string, asked: Asked): Promise<Page>
  /**
   * A file that a page named; `token` and `name` are those of its link (`filePath`).
   *
   * @throws {IndexFault}
   */
  file(token: string, name: string, asked: Asked): Promise<File>
  close(): void
}

export interface Asked {
  accept: string
  /** How whoever asks calls the proxy: `http://127.0.0.1:4711`. */
  origin: string
  /** For all that is fetched or read. */
  room: Room
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal
}

export interface Page {
  type: string
  text: string
}

export interface File {
  /** Takes its room as it is read. */
  body: Readable
  /** Bytes; undefined where the index does not tell. */
  length: number | undefined
}

/** Why there is no answer, in words for people, with the HTTP status that pip or npm is given. */
export class IndexFault extends Error {
  override readonly name = 'IndexFault'
  readonly status: number

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.status = status
  }
}

/** The path of a named file at the proxy. pip reads a package's version from the last part. */
export function filePath(token: string, name: string): string {
  return `/files/${token}/${name}`
}
