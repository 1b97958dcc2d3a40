import type { IncomingMessage } from 'node:http'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { filePath, IndexFault } from './index-source.ts'
import type { Asked, File, IndexSource, Page } from './index-source.ts'
import { NamedFiles } from './named-files.ts'
import type { PackageIndex } from './package-index.ts'
import { rewriteJson } from './rewrite-json.ts'
import { rewriteSimplePage } from './simple-page.ts'
import { shown, Upstream } from './upstream.ts'

/** The largest page, unpacked, in bytes; and the most files that one may name. */
const largestPage = 64 * 1024 * 1024
const mostFiles = 100_000

/**
 * An index of the network. Its files are reached as its pages name them and in no other way: their links lead to the
 * proxy, with a token in the place of the URL, which may have secrets of its own.
 */
export class OnlineIndex implements IndexSource {
  readonly #kind: PackageIndex['kind']
  readonly #base: URL
  readonly #upstream: Upstream
  readonly #files = new NamedFiles()

  constructor({ kind, auth }: PackageIndex, url: string, idleMs: number) {
    this.#kind = kind
    this.#base = new URL(url.endsWith('/') ? url : `${url}/`)
    this.#upstream = new Upstream(this.#base, auth, idleMs)
  }

  async page(name: string, asked: Asked): Promise<Page> {
    const path = this.#kind === 'python' ? `${name}/` : name.replace('/', '%2f')
    const headers = { accept: asked.accept, 'accept-encoding': 'gzip' }
    const { response, url } = await this.#upstream.get(new URL(path, this.#base), asked, headers)
    const text = await readText(response, url, asked)
    try {
      return this.#rewritten(text, response.headers['content-type'] ?? '', url, asked)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      throw new IndexFault(502, `${shown(url)} is no JSON`, { cause: error })
    }
  }

  async file(token: string, name: string, asked: Asked): Promise<File> {
    const url = this.#files.find(token)
    if (!url) throw new IndexFault(403, `no page of the index names ${name}`)
    // What lies beside a wheel (PEP 658).
    if (this.#kind === 'python' && name.endsWith('.metadata')) url.pathname += '.metadata'
    const headers = { accept: '*/*', 'accept-encoding': 'identity' }
    const { response } = await this.#upstream.get(url, asked, headers)
    const length = lengthOf(response)
    if (response.headers['content-encoding'] === 'gzip')
      return { body: pipeline(response, asked.room.meter(), createGunzip(), () => {}), length: undefined }
    return { body: pipeline(response, asked.room.meter(), () => {}), length }
  }

  close(): void {
    this.#upstream.close()
  }

  #rewritten(text: string, type: string, page: URL, { origin }: Asked): Page {
    let files = 0
    const link = (url: URL | null): string | undefined => {
      files += 1
      if (files > mostFiles) throw new IndexFault(502, `${shown(page)} names more than ${mostFiles} files`)
      return url ? this.#link(url) : undefined
    }
    const absolute = (value: string): string | undefined => {
      const path = link(URL.parse(value, page))
      return path === undefined ? undefined : origin + path
    }
    if (this.#kind === 'node')
      return { type: 'application/json', text: rewriteJson(text, 'tarball', absolute) }
    if (/^application\/vnd\.pypi\.simple\.v\d+\+json\b/.test(type))
      return { type, text: rewriteJson(text, 'url', absolute) }
    if (/^(?:text\/html|application\/vnd\.pypi\.simple\.v\d+\+html)\b/.test(type))
      return { type: 'text/html; charset=utf-8', text: rewriteSimplePage(text, page, link) }
    throw new IndexFault(
      502,
      `${shown(page)} is no page of a simple index: its type is ${JSON.stringify(type)}`,
    )
  }

  /** The path at the proxy of a file that a page names; undefined for what is none. */
  #link(url: URL): string | undefined {
    const { hash } = url
    url.hash = ''
    const name = url.pathname.slice(url.pathname.lastIndexOf('/') + 1)
    if (name === '' || !this.#upstream.name(url)) return undefined
    return filePath(this.#files.name(url.href), name) + hash
  }
}

async function readText(response: IncomingMessage, url: URL, { room }: Asked): Promise<string> {
  const encoding = response.headers['content-encoding'] ?? 'identity'
  if (encoding !== 'identity' && encoding !== 'gzip') {
    response.destroy()
    throw new IndexFault(502, `${shown(url)} is packed as ${encoding}, which was not asked for`)
  }
  const meter = room.meter()
  const body =
    encoding === 'gzip'
      ? pipeline(response, meter, createGunzip(), () => {})
      : pipeline(response, meter, () => {})
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > largestPage)
        throw new IndexFault(502, `${shown(url)} is larger than ${largestPage / 1024 / 1024} MiB`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof IndexFault) throw error
    throw new IndexFault(502, `${shown(url)} came damaged or was cut off`, { cause: error })
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

function lengthOf({ headers }: IncomingMessage): number | undefined {
  const length = Number(headers['content-length'] ?? Number.NaN)
  return Number.isSafeInteger(length) ? length : undefined
}
