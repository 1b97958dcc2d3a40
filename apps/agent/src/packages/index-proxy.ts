import { rmSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { readNpmRequirement, readPythonRequirement } from '@errand/shared'
import { IndexFault, type Asked, type IndexSource } from './index-source.ts'
import { OfflineIndex } from './offline-index.ts'
import { OnlineIndex } from './online-index.ts'
import type { PackageIndex } from './package-index.ts'
import { Room } from './room.ts'
import { turns } from './turns.ts'

export interface IndexProxy {
  index: PackageIndex
  /** To be made, in a directory of the caller's that decides who reaches it: everybody may connect. At most 107 bytes. */
  socketPath: string
  /** All that may be fetched through it. */
  mostBytes: number
  /** As bytes come. */
  onBytes: (n: number) => void
  /**
   * Why something was not answered, for people, and the HTTP status that stood for it (from 500: asked again it may be);
   * that the index lacks a package is not among it, as pip and npm say so.
   */
  onRefused: (words: string, status: number) => void
  /** After how long a silent index is given up. */
  idleMs?: number
}

/**
 * The only way out of an installation: an HTTP server on a unix socket that answers with what the index has, pages of
 * packages and the files that those name, and with nothing else. It is for one installation, and knows the index's
 * credentials, which stay here.
 *
 * @throws where `socketPath` can't be made
 */
export async function openIndexProxy(given: IndexProxy): Promise<{ close(): Promise<void> }> {
  const { index, socketPath, mostBytes, onBytes, onRefused, idleMs = 30_000 } = given
  const source = sourceOf(index, idleMs)
  const closing = new AbortController()
  const proxy: Proxy = {
    kind: index.kind,
    source,
    room: new Room(mostBytes, onBytes),
    // A page is held in memory as a whole until it is sent.
    inTurn: turns(4),
    closing: closing.signal,
    onRefused,
  }
  const server = createServer(bounds, (request, response) => void answer(request, response, proxy))
  server.maxConnections = 64
  // Of a dead agent.
  rmSync(socketPath, { force: true })
  server.listen({ path: socketPath, readableAll: true, writableAll: true })
  await once(server, 'listening')
  return {
    async close() {
      closing.abort()
      await closed(server)
      source.close()
    },
  }
}

interface Proxy extends Pick<IndexProxy, 'onRefused'> {
  kind: PackageIndex['kind']
  source: IndexSource
  room: Room
  inTurn: ReturnType<typeof turns>
  closing: AbortSignal
}

/** Of those who ask. While an answer is under way, the index's own silence decides. */
const bounds = {
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 60_000,
  maxHeaderSize: 16_384,
}

function sourceOf(index: PackageIndex, idleMs: number): IndexSource {
  if (index.url !== undefined) return new OnlineIndex(index, index.url, idleMs)
  if (index.dir !== undefined) return new OfflineIndex(index, index.dir)
  throw new Error('a package index needs a url or a dir')
}

async function answer(request: IncomingMessage, response: ServerResponse, proxy: Proxy): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  const signal = AbortSignal.any([gone.signal, proxy.closing])
  request.resume()
  try {
    await send(request, response, proxy, signal)
  } catch (error) {
    if (signal.aborted) return
    const fault = faultOf(error)
    if (fault.status !== 404) proxy.onRefused(fault.message, fault.status)
    response.writeHead(fault.status, { 'content-type': 'text/plain; charset=utf-8' })
    response.end(`${fault.message}\n`)
  }
}

/** @throws before anything is sent */
async function send(
  request: IncomingMessage,
  response: ServerResponse,
  proxy: Proxy,
  signal: AbortSignal,
): Promise<void> {
  const { method = '', url = '', headers } = request
  if (method !== 'GET' && method !== 'HEAD')
    throw new IndexFault(405, `${method} is refused: packages are only read`)
  const [path = ''] = url.split('?', 1)
  const asked: Asked = {
    accept: headers.accept ?? '*/*',
    origin: originOf(headers),
    room: proxy.room,
    signal,
  }
  const [, token, file] = /^\/files\/([^/]+)\/([^/]+)$/.exec(path) ?? []
  if (token !== undefined && file !== undefined) return sendFile(token, file)
  const name = proxy.kind === 'python' ? pythonName(path) : npmName(path)
  if (name === undefined)
    throw new IndexFault(403, `${path} is refused: it is neither a package nor a file of one`)
  return proxy.inTurn(() => sendPage(name))

  async function sendFile(token: string, file: string): Promise<void> {
    const { body, length } = await proxy.source.file(token, file, asked)
    // Whoever asked may leave: that is no fault.
    body.once('error', (error) => {
      const { message, status } = faultOf(error, file)
      if (!signal.aborted) proxy.onRefused(message, status)
    })
    try {
      proxy.room.need(length ?? 0)
    } catch (error) {
      body.destroy()
      throw error
    }
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      ...(length !== undefined && { 'content-length': length }),
    })
    if (method === 'HEAD') {
      body.destroy()
      response.end()
    } else await pipeline(body, response).catch(() => {})
  }

  async function sendPage(name: string): Promise<void> {
    if (signal.aborted) return
    const { type, text } = await proxy.source.page(name, asked)
    response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
    if (method === 'HEAD') response.end()
    else await pipeline([text], response).catch(() => {})
  }
}

function faultOf(error: unknown, what = 'an answer of the index'): IndexFault {
  return error instanceof IndexFault ? error : new IndexFault(502, `${what} was cut off`, { cause: error })
}

/** npm wants links in full. */
function originOf({ host = '' }: IncomingMessage['headers']): string {
  if (!/^(?:127\.0\.0\.1|localhost):\d{1,5}$/.test(host))
    throw new IndexFault(400, 'the header Host is not ours')
  return `http://${host}`
}

function pythonName(path: string): string | undefined {
  const [, name = ''] = /^\/simple\/([^/]+)\/?$/.exec(path) ?? []
  const read = readPythonRequirement(name)
  return 'name' in read && read.name === name ? name : undefined
}

function npmName(path: string): string | undefined {
  const name = path.slice(1).replace(/%2f/i, '/')
  const read = readNpmRequirement(name)
  return 'name' in read && read.name === name ? name : undefined
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
