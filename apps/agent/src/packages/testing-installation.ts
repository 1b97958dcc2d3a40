import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { installSteps, proxiedIndexUrl, type Installation } from './install-steps.ts'
import { openIndexProxy, type IndexProxy } from './index-proxy.ts'
import type { PackageIndex } from './package-index.ts'

/** A directory until the test ends. */
export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export interface ProxyUnderTest {
  socketPath: string
  /** What it has told. */
  told: { bytes: number; refused: string[] }
  close: () => Promise<void>
}

/** An index proxy until the test ends. */
export async function proxyTo(index: PackageIndex, more: Partial<IndexProxy> = {}): Promise<ProxyUnderTest> {
  const socketPath = join(temporaryDirectory(), 'index.sock')
  const told = { bytes: 0, refused: [] as string[] }
  const proxy = await openIndexProxy({
    index,
    socketPath,
    mostBytes: 2 ** 30,
    onBytes: (n) => void (told.bytes += n),
    onRefused: (words) => void told.refused.push(words),
    ...more,
  })
  onTestFinished(() => proxy.close())
  return { socketPath, told, close: () => proxy.close() }
}

export interface ProxyAnswer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  text: string
}

/** Asks a proxy as what stands behind `forward.py` would. Rejects where the answer is cut. */
export function ask(
  { socketPath }: { socketPath: string },
  path: string,
  { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<ProxyAnswer> {
  return new Promise((resolve, reject) => {
    const all = { host: '127.0.0.1:4711', ...headers }
    const asking = request({ socketPath, path, method, headers: all, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const body = Buffer.concat(chunks)
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body, text: body.toString() })
      })
    })
    asking.on('error', reject)
    asking.end()
  })
}

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

/**
 * Installs by pip or npm through a proxy, in a network of its own where there is nothing but loopback.
 *
 * @param home where configuration is looked for, of the user and of the host
 */
export async function install(
  given: Pick<Installation, 'runtime' | 'dependencies' | 'dir'> & Partial<Installation>,
  home = temporaryDirectory(),
): Promise<Ended> {
  const work = temporaryDirectory()
  const { files, steps } = installSteps({
    interpreter: interpreters[given.runtime],
    indexUrl: proxiedIndexUrl(given.runtime),
    allowInstallScripts: false,
    ...given,
  })
  mkdirSync(given.dir, { recursive: true })
  for (const { path, content } of files) writeFileSync(join(work, path), content)
  let ended: Ended = { code: -1, stdout: '', stderr: '' }
  for (const { argv, env } of steps) {
    ended = await execute(['/usr/bin/bwrap', '--dev-bind', '/', '/', '--unshare-net', '--', ...argv], work, {
      HOME: home,
      XDG_CONFIG_DIRS: home,
      ...env,
    })
    if (ended.code !== 0) break
  }
  return ended
}

/** Debian's Python, and the Node that npm came with, wherever that is. */
export const interpreters = {
  python: '/usr/bin/python3',
  node: ['/usr/local/bin/node', '/usr/bin/node'].find((path) => existsSync(path)) ?? 'no node',
} as const

export function execute(argv: string[], cwd: string, env: Record<string, string> = {}): Promise<Ended> {
  const [command = '', ...args] = argv
  const all = { PATH: '/usr/local/bin:/usr/bin:/bin', ...env }
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env: all }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    })
  })
}
