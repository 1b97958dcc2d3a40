import type { LookupAddress } from 'node:dns'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { IndexFault, type Asked } from './index-source.ts'
import { addressesOfIndex, lookupAmong, lookupAtMost, nearestOf, refuseNearer } from './nearness.ts'

/** An index of the network, and the other origins where its pages name files. */
export class Upstream {
  readonly #origin: string
  readonly #authorization: string | undefined
  readonly #idleMs: number
  /** Of the files that pages named: redirects may lead there. */
  readonly #named = new Set<string>()
  readonly #agents = {
    'http:': new HttpAgent({ keepAlive: true, maxSockets }),
    'https:': new HttpsAgent({ keepAlive: true, maxSockets }),
  }
  readonly #hostname: string
  /** Of the index; asked for again only where there was no answer. */
  #addresses: Promise<LookupAddress[]> | undefined

  constructor(index: URL, auth: { username: string; password: string } | undefined, idleMs: number) {
    this.#origin = index.origin
    this.#authorization =
      auth && `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}`
    this.#idleMs = idleMs
    this.#hostname = index.hostname
  }

  /** Called for each file that a page names; whether it may be asked for. */
  name(file: URL): boolean {
    if (!isHttp(file) || file.href.length > longestUrl) return false
    if (this.#named.size < mostOrigins) this.#named.add(file.origin)
    return true
  }

  /**
   * Asks for the index's own page or a named file, and follows redirects to the index's origin and to those of named
   * files.
   *
   * @returns the answer (200), not read yet, and where it came from
   * @throws {IndexFault}
   */
  async get(
    url: URL,
    asked: Asked,
    headers: Record<string, string>,
    hops = 5,
  ): Promise<{ response: IncomingMessage; url: URL }> {
    const response = await this.#request(url, asked, headers)
    const { statusCode = 0, headers: told } = response
    if (statusCode === 200) return { response, url }
    response.destroy()
    const target = redirects.has(statusCode) ? URL.parse(told.location ?? '', url) : null
    if (target === null) throw new IndexFault(...faultOf(statusCode, shown(url)))
    if (hops === 0) throw new IndexFault(502, `${shown(url)} redirects again and again`)
    if (!isHttp(target) || (target.origin !== this.#origin && !this.#named.has(target.origin)))
      throw new IndexFault(403, `${shown(url)} redirects to ${shown(target)}, which the index does not name`)
    return this.get(target, asked, headers, hops - 1)
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }

  async #request(url: URL, { signal }: Asked, headers: Record<string, string>): Promise<IncomingMessage> {
    const isIndex = url.origin === this.#origin
    const addresses = await this.#addressesOfIndex()
    const most = isIndex ? 2 : nearestOf(addresses)
    refuseNearer(url.hostname, most)
    const protocol = url.protocol as 'http:' | 'https:'
    const send = protocol === 'http:' ? httpRequest : httpsRequest
    return new Promise((resolve, reject) => {
      const request = send(url, {
        agent: this.#agents[protocol],
        lookup: isIndex ? lookupAmong(addresses) : lookupAtMost(most),
        signal,
        // Of the connection, also while the answer is read.
        timeout: this.#idleMs,
        headers: {
          ...headers,
          'user-agent': 'errand-agent',
          ...(isIndex && this.#authorization !== undefined && { authorization: this.#authorization }),
        },
      })
      let response: IncomingMessage | undefined
      request.once('response', (answer) => {
        response = answer
        resolve(answer)
      })
      request.on('timeout', () => {
        // What lies here unread tells that it is pip that takes its time.
        if (response && response.readableLength > 0) return
        const seconds = Math.ceil(this.#idleMs / 1_000)
        const fault = new IndexFault(504, `${shown(url)} was silent for ${seconds} s`)
        ;(response ?? request).destroy(fault)
      })
      request.on('error', (error) => reject(unreachable(url.origin, error)))
      request.end()
    })
  }

  #addressesOfIndex(): Promise<LookupAddress[]> {
    this.#addresses ??= addressesOfIndex(this.#hostname).catch((error) => {
      this.#addresses = undefined
      throw unreachable(this.#origin, error)
    })
    return this.#addresses
  }
}

/** As it may be told: without credentials and signatures. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`
}

function unreachable(origin: string, error: NodeJS.ErrnoException): IndexFault {
  if (error instanceof IndexFault) return error
  return new IndexFault(502, `cannot reach ${origin}: ${error.code ?? error.message}`, { cause: error })
}

function isHttp({ protocol }: URL): boolean {
  return protocol === 'http:' || protocol === 'https:'
}

function faultOf(status: number, url: string): [status: number, words: string] {
  if (status === 404 || status === 410) return [404, `${url} is not there`]
  if (status === 401 || status === 403)
    return [403, `${url} is not shown to us (${status}): the executor's index_auth may be missing or wrong`]
  // pip and npm try again after these.
  return [status === 429 || status >= 500 ? 503 : 502, `${url} is answered with ${status}`]
}

const redirects = new Set([301, 302, 303, 307, 308])
/** At once, to each origin. */
const maxSockets = 16
const longestUrl = 4_096
const mostOrigins = 1_000
