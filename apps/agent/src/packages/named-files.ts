import { IndexFault } from './index-source.ts'

/** The files that the pages of an index have named so far, each with a token: what has none can't be asked for. */
export class NamedFiles {
  readonly #urls: string[] = []
  readonly #tokens = new Map<string, string>()
  #roomLeft = longestTogether

  /**
   * The token of a file, the same each time.
   *
   * @throws {IndexFault} where there are too many to keep
   */
  name(url: string): string {
    const known = this.#tokens.get(url)
    if (known !== undefined) return known
    this.#roomLeft -= url.length
    if (this.#roomLeft < 0) throw new IndexFault(502, 'the index names more files than can be kept')
    const token = String(this.#urls.push(url) - 1)
    this.#tokens.set(url, token)
    return token
  }

  find(token: string): URL | undefined {
    const url = /^\d{1,9}$/.test(token) ? this.#urls[Number(token)] : undefined
    return url === undefined ? undefined : new URL(url)
  }
}

/** Of their URLs, in characters. A set of a thousand packages names some hundred thousand files. */
const longestTogether = 128 * 1024 * 1024
