import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createDatabase, dropDatabase } from '../../../infra/create-database.ts'
import { freePort } from '../../../infra/free-port.ts'
import { Client } from './client.ts'
import { RunningProcess } from './running-process.ts'

export interface ApiOptions {
  /** PGlite in the data directory; or a new database on the PostgreSQL server at `url`. */
  database: 'pglite' | { server: string } | { url: string }
  /** Multiplies all waits; 1 */
  timeScale?: number
  /** The data directory; a temporary one where absent, which goes when it closes. */
  dir?: string
  port?: number
  /** The text of its `config.yaml`. */
  config?: string
  env?: NodeJS.ProcessEnv
}

type Closing = () => Promise<void> | void

/** A real API on a loopback port, with `kill`, `stop` and `restart` on the same port and data. */
export class Api {
  readonly dir: string
  readonly port: number
  readonly url: string
  /** With the admin key. */
  client!: Client
  process!: RunningProcess
  readonly #env: NodeJS.ProcessEnv
  readonly #closing: Closing[]
  #log = ''

  constructor(given: { dir: string; port: number; env: NodeJS.ProcessEnv; closing: Closing[] }) {
    this.dir = given.dir
    this.port = given.port
    this.url = `http://127.0.0.1:${given.port}`
    this.#env = given.env
    this.#closing = given.closing
  }

  get adminKey(): string {
    return readFileSync(join(this.dir, 'admin-key'), 'utf8').trim()
  }

  get log(): string {
    return `${this.#log}${this.process?.log ?? ''}`
  }

  /** Starts it, again after `kill` or `stop`; returns when it listens. */
  async start(env: NodeJS.ProcessEnv = {}): Promise<void> {
    if (this.process) this.#log = `${this.log}\n--- started again\n`
    this.process = new RunningProcess('the API', main, { cwd: this.dir, env: { ...this.#env, ...env } })
    await this.process.message()
    this.client = new Client(this.url, this.adminKey)
  }

  kill(): Promise<void> {
    return this.process.kill()
  }

  stop(): Promise<number | string | null> {
    return this.process.stop()
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** Ends it and removes what it kept. */
  async close(): Promise<void> {
    await this.process?.stop()
    for (const act of this.#closing) await act()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

const main = resolve(import.meta.dirname, '../../../apps/api/src/main.ts')

export async function startApi(options: ApiOptions): Promise<Api> {
  const closing: Closing[] = []
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'errand-api-'))
  const databaseUrl = await openDatabase(options.database, closing)
  if (options.dir === undefined) closing.push(() => rmSync(dir, { recursive: true, force: true }))
  if (options.config !== undefined) writeFileSync(join(dir, 'config.yaml'), options.config)
  const port = options.port ?? (await freePort())
  const api = new Api({
    dir,
    port,
    closing,
    env: {
      ERRAND_HOST: '127.0.0.1',
      ERRAND_PORT: String(port),
      ERRAND_DATA_DIR: dir,
      ERRAND_TIME_SCALE: String(options.timeScale ?? 1),
      ...(databaseUrl && { DATABASE_URL: databaseUrl }),
      ...options.env,
    },
  })
  try {
    await api.start()
  } catch (error) {
    await api.close()
    throw error
  }
  return api
}

async function openDatabase(
  database: ApiOptions['database'],
  closing: Closing[],
): Promise<string | undefined> {
  if (database === 'pglite') return undefined
  if ('url' in database) return database.url
  const url = await createDatabase(database.server)
  closing.push(() => dropDatabase(url))
  return url
}
