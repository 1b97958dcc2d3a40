import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { makeSamplePackages, sampleSource, sampleTarballs, sampleWheels } from './sample-packages.ts'

/** A request that it has answered, or begun to. */
export interface IndexRequest {
  method: string
  path: string
  /** Of the request: what it came with. */
  headers: IncomingMessage['headers']
  status: number
}

/**
 * What becomes of a request in place of its right answer; the connection is `cut` after half of it, or the other half
 * follows after `pauseMs`.
 */
export type IndexFault =
  | 'cut'
  | 'silent'
  | { pauseMs: number }
  | { status: number; headers?: Record<string, string>; body?: string | Buffer }

export interface PackageIndexServer {
  /** Python's simple index, as HTML or JSON, whichever is asked for. */
  readonly pythonUrl: string
  readonly npmUrl: string
  /** The origin where files lie: the index's own, or another. */
  readonly filesUrl: string
  /** All requests so far, to both origins. */
  readonly log: IndexRequest[]
  /** Decides what goes wrong; nothing as long as it is not set. */
  fault: ((path: string) => IndexFault | undefined) | undefined
  /** Of the log: how often files whose name begins so were asked for. */
  fetched(file: string): number
  stop(): Promise<void>
}

/**
 * A package index on `host`, of the packages that `sample-packages.ts` makes: what serves Python's packages and what
 * serves npm's, in one. With `auth` both want HTTP's Basic authentication.
 *
 * @param dir for the files of its packages
 * @param filesElsewhere pages name files at another origin, as those of public indexes do, which knows no `auth`
 */
export async function startPackageIndex(given: {
  dir: string
  host?: string
  auth?: { username: string; password: string }
  filesElsewhere?: boolean
}): Promise<PackageIndexServer> {
  const { dir, host = '127.0.0.1', auth, filesElsewhere = false } = given
  mkdirSync(dir, { recursive: true })
  await makeSamplePackages(dir)
  const log: IndexRequest[] = []
  const wanted = auth && `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}`
  const own = createServer((request, response) => answer(request, response, wanted))
  const other = createServer((request, response) => answer(request, response, undefined))
  const url = await listen(own, host)
  const filesUrl = filesElsewhere ? await listen(other, host) : url
  const content = contentOf(dir, url, filesUrl)

  const index: PackageIndexServer = {
    pythonUrl: `${url}/simple/`,
    npmUrl: `${url}/npm/`,
    filesUrl,
    log,
    fault: undefined,
    fetched: (file) => log.filter(({ path }) => path.startsWith(`/files/${file}`)).length,
    async stop() {
      await Promise.all([own, other].filter((server) => server.listening).map(close))
    },
  }
  return index

  function answer(request: IncomingMessage, response: ServerResponse, authorization: string | undefined) {
    const { method = '', headers } = request
    const path = decodeURIComponent(request.url ?? '')
    response.once('close', () => void (entry.status = response.statusCode))
    const entry = { method, path, headers, status: 0 }
    log.push(entry)
    const fault = index.fault?.(path)
    if (fault === 'silent') return
    if (typeof fault === 'object' && 'status' in fault) {
      response.writeHead(fault.status, fault.headers).end(fault.body)
      return
    }
    if (authorization !== undefined && headers.authorization !== authorization) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="packages"' }).end('who are you?')
      return
    }
    const found = content(path, headers.accept ?? '')
    if (!found) {
      response.writeHead(404).end('no such package')
      return
    }
    const { type, body } = found
    response.writeHead(200, { 'content-type': type, 'content-length': body.length })
    const half = Math.floor(body.length / 2)
    if (method === 'HEAD') response.end()
    else if (fault === undefined) response.end(body)
    else
      response.write(body.subarray(0, half), () => {
        if (fault === 'cut') response.destroy()
        else setTimeout(() => response.end(body.subarray(half)), fault.pauseMs)
      })
  }
}

type Content = (path: string, accept: string) => { type: string; body: Buffer } | undefined

function contentOf(dir: string, url: string, filesUrl: string): Content {
  const python = [...sampleWheels, sampleSource]
  const read = (file: string): Buffer => readFileSync(join(dir, file))
  const hash = (file: string): string => createHash('sha256').update(read(file)).digest('hex')
  const simple = (name: string) => python.filter((one) => one.name === name)
  return (path, accept) => {
    const [, project] = /^\/simple\/([^/]+)\/$/.exec(path) ?? []
    if (project !== undefined && simple(project).length > 0)
      return accept.includes(jsonType)
        ? { type: jsonType, body: Buffer.from(JSON.stringify(simpleJson(project))) }
        : { type: 'text/html', body: Buffer.from(simpleHtml(project)) }
    const [, npmName] = /^\/npm\/([^/]+|@[^/]+\/[^/]+)$/.exec(path) ?? []
    if (sampleTarballs.some(({ name }) => name === npmName))
      return { type: 'application/json', body: Buffer.from(JSON.stringify(packument(npmName as string))) }
    const [, file] = /^\/files\/([^/]+)$/.exec(path) ?? []
    const wheel = python.find((one) => `${one.file}.metadata` === file)
    if (wheel) return { type: 'text/plain', body: Buffer.from(wheel.metadata) }
    if ([...python, ...sampleTarballs].some((one) => one.file === file))
      return { type: 'application/octet-stream', body: read(file as string) }
    return undefined
  }

  function simpleHtml(project: string): string {
    const links = simple(project).map(
      ({ file }) =>
        `<a href="${filesUrl}/files/${file}#sha256=${hash(file)}" data-requires-python="&gt;=3.6"` +
        `${file.endsWith('.whl') ? ' data-dist-info-metadata="true" data-core-metadata="true"' : ''}>${file}</a><br>`,
    )
    return `<!DOCTYPE html><html><body>\n${links.join('\n')}\n</body></html>\n`
  }

  function simpleJson(project: string): object {
    const files = simple(project).map(({ file }) => ({
      filename: file,
      // As some do: relative to the page.
      url: filesUrl === url ? `../../files/${file}` : `${filesUrl}/files/${file}`,
      hashes: { sha256: hash(file) },
      'requires-python': '>=3.6',
      'core-metadata': file.endsWith('.whl'),
    }))
    return { meta: { 'api-version': '1.0' }, name: project, files }
  }

  function packument(name: string): object {
    const all = sampleTarballs.filter((one) => one.name === name)
    const versions = all.map(({ version, file, metadata }) => {
      const integrity = `sha512-${createHash('sha512').update(read(file)).digest('base64')}`
      const { scripts, ...shown } = JSON.parse(metadata) as { scripts?: object }
      const dist = { tarball: `${filesUrl}/files/${file}`, integrity }
      return [version, { ...shown, ...(scripts && { hasInstallScript: true, scripts }), dist }]
    })
    const latest = all.map(({ version }) => version).findLast((version) => !version.includes('-'))
    return { name, 'dist-tags': { latest }, versions: Object.fromEntries(versions) as object }
  }
}

const jsonType = 'application/vnd.pypi.simple.v1+json'

async function listen(server: Server, host: string): Promise<string> {
  server.listen(0, host)
  await once(server, 'listening')
  return `http://${host}:${(server.address() as AddressInfo).port}`
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
