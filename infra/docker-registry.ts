import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DockerEngine } from './docker-engine.ts'
import { freePort } from './free-port.ts'
import { checkMachine, enterNamespaces } from './namespaced.ts'
import { ownedDirectory } from './owned-directory.ts'
import { randomImage, type Blob } from './random-image.ts'
import { startRegistryFront, type RegistryFaults } from './registry-front.ts'
import { runTool } from './run-tool.ts'

/**
 * A Docker registry of the caller's own. It ends with this process, however that dies, and leaves nothing. Engines
 * reach it through a front in this process that can be slow, cut connections, or answer in its place: they wait while
 * this process runs something to its end.
 */
export interface DockerRegistry {
  /** As Engines name it that it was shown to: `127.0.0.1:21345`. */
  readonly name: string
  /** What it asks for, if it does. */
  readonly username: string
  readonly password: string
  readonly faults: RegistryFaults
  /** From now on this Engine reaches it. */
  showTo(engine: DockerEngine): Promise<void>
  /** Puts an image there that no Engine has, with layers of so many bytes. */
  publish(repository: string, tag: string, layerBytes: readonly number[]): Promise<Published>
  /** Puts an image there that this Engine has, and which the Engine then has only as what it was. */
  push(engine: DockerEngine, image: string, repository: string, tag: string): Promise<string>
  /** What it was asked for and has answered, by its access log: `GET /v2/a/manifests/1`. */
  accesses(): string[]
  /** How many answers are on their way. */
  sending(): number
  /** SIGKILL. Its data stay. */
  kill(): Promise<void>
  /** Again, after `kill`. */
  start(): Promise<void>
  /** Ends it and removes the data. */
  stop(): Promise<void>
}

export interface Published {
  /** `127.0.0.1:21345/a:1` */
  reference: string
  /** `sha256:…`, of the manifest. */
  digest: string
}

/** @throws where it cannot run here (the message says what is missing) or does not start */
export async function startDockerRegistry({ auth = false } = {}): Promise<DockerRegistry> {
  checkMachine('docker-registry', 'docker-registry')
  const dir = ownedDirectory('errand-registry-')
  const account = { username: 'errand', password: randomBytes(12).toString('hex') }
  if (auth) await makeAccount(dir, account)
  writeFileSync(join(dir, 'config.yml'), settings(dir, auth))
  const inside = enterNamespaces({ script: 'registry.sh', program: 'docker-registry', dir })
  const socketPath = join(dir, 'registry.sock')
  const log = (): string => readFileSync(join(dir, 'log'), 'utf8')
  const start = async (): Promise<void> => {
    await inside.order('start')
    const deadline = Date.now() + 20_000
    while (!(await answers(socketPath))) {
      if (!(await inside.order('look')) || Date.now() > deadline)
        throw new Error(`the registry did not start:\n${log()}`)
      await sleep(10)
    }
  }
  try {
    await start()
  } catch (error) {
    await inside.end()
    throw error
  }
  const frontPath = join(dir, 'front.sock')
  const front = await startRegistryFront(frontPath, socketPath)
  const port = await freePort()
  const name = `127.0.0.1:${port}`
  return {
    name,
    ...account,
    faults: front.faults,
    showTo: (engine) => engine.forward(port, frontPath),
    async publish(repository, tag, layerBytes) {
      const { manifest, blobs } = await randomImage(layerBytes)
      const store = new Store(socketPath, account, repository)
      for (const blob of blobs) await store.addBlob(blob)
      await store.addManifest(manifest, tag)
      return { reference: `${name}/${repository}:${tag}`, digest: manifest.digest }
    },
    async push({ socketPath: engine }, image, repository, tag) {
      const reference = `${name}/${repository}:${tag}`
      for (const command of [
        ['tag', image, reference],
        ['push', reference],
        ['rmi', reference],
      ])
        await runTool('docker', ['--host', `unix://${engine}`, ...command])
      return reference
    },
    accesses: () => [...log().matchAll(/"((?:GET|HEAD) \/v2\/\S+) HTTP/g)].map(([, access]) => access!),
    sending: front.sending,
    start,
    kill: async () => void (await inside.order('kill')),
    async stop() {
      front.close()
      await inside.end()
    },
  }
}

/** The part of a registry's API that puts an image there. */
class Store {
  readonly #options: RequestOptions
  readonly #repository: string

  constructor(
    socketPath: string,
    { username, password }: Pick<DockerRegistry, 'username' | 'password'>,
    repository: string,
  ) {
    this.#options = { socketPath, auth: `${username}:${password}` }
    this.#repository = `/v2/${repository}`
  }

  async addBlob({ digest, bytes }: Blob): Promise<void> {
    const { location } = await this.#ask('POST', `${this.#repository}/blobs/uploads/`)
    const { pathname, search } = new URL(location!, 'http://registry')
    const path = `${pathname}${search}${search ? '&' : '?'}digest=${digest}`
    await this.#ask('PUT', path, bytes, 'application/octet-stream')
  }

  async addManifest({ bytes, mediaType }: Blob, tag: string): Promise<void> {
    await this.#ask('PUT', `${this.#repository}/manifests/${tag}`, bytes, mediaType)
  }

  async #ask(
    method: string,
    path: string,
    body?: Buffer,
    type?: string,
  ): Promise<IncomingMessage['headers']> {
    const headers = type === undefined ? {} : { 'content-type': type }
    const answer = await answered({ ...this.#options, method, path, headers }, body)
    const said = await text(answer)
    if (answer.statusCode! >= 300)
      throw new Error(`the registry did not take ${path}: ${answer.statusCode} ${said}`)
    return answer.headers
  }
}

function answered(options: RequestOptions, body?: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => request(options, resolve).on('error', reject).end(body))
}

async function answers(socketPath: string): Promise<boolean> {
  try {
    ;(await answered({ socketPath, path: '/' })).resume()
    return true
  } catch {
    return false
  }
}

/** It takes bcrypt alone. */
async function makeAccount(
  dir: string,
  { username, password }: Pick<DockerRegistry, 'username' | 'password'>,
): Promise<void> {
  const hash = await runTool(
    'perl',
    ['-e', 'print crypt($ENV{PASSWORD}, q($2y$04$errandtestregistrysalt))'],
    {
      env: { ...process.env, PASSWORD: password },
    },
  )
  writeFileSync(join(dir, 'htpasswd'), `${username}:${hash}\n`)
}

function settings(dir: string, auth: boolean): string {
  const htpasswd = { htpasswd: { realm: 'errand', path: join(dir, 'htpasswd') } }
  return JSON.stringify({
    version: '0.1',
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(dir, 'data') } },
    http: { net: 'unix', addr: join(dir, 'registry.sock') },
    ...(auth && { auth: htpasswd }),
  })
}
