import { randomBytes } from 'node:crypto'
import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createDatabase } from './create-database.ts'
import { freePort } from './free-port.ts'
import { ownedDirectory } from './owned-directory.ts'
import { postgresBin, serverUser } from './postgres-bin.ts'
import { launchPostgres, type Place, type Running } from './postgres-process.ts'
import { runTool } from './run-tool.ts'

/** A PostgreSQL cluster of the caller's own, on a loopback port. It ends with this process, however that dies. */
export interface Postgres {
  /** Of the database `postgres`, as its superuser. */
  readonly url: string
  /** The postmaster's process id; undefined while it is down. */
  readonly pid: number | undefined
  /** Ends it, and removes the data unless the caller gave `dir`. */
  stop(): Promise<void>
  /** SIGKILL to the postmaster; returns when none of its processes is left. The data stays, for `start`. */
  kill(): Promise<void>
  /** Again on the same data and port, after `kill`. */
  start(): Promise<void>
  /** A new empty database: its url. */
  createDatabase(): Promise<string>
}

export interface PostgresOptions {
  /** Where to keep the cluster; a temporary directory where absent. */
  dir?: string
  /** Off makes it faster, and still survives the death of its processes, not that of the machine. On when absent. */
  fsync?: boolean
}

/** @throws where PostgreSQL is not installed (the message says what to install) or does not start */
export async function startPostgres({ dir, fsync = true }: PostgresOptions = {}): Promise<Postgres> {
  const bin = postgresBin()
  const user = serverUser()
  const home = dir ?? ownedDirectory('errand-postgres-')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  // Root may not run PostgreSQL: the files belong to the user who does.
  if (user.uid !== undefined) chownSync(home, user.uid, user.gid ?? user.uid)
  const password = randomBytes(16).toString('hex')
  const data = join(home, 'data')
  try {
    await initialise({ bin, user, home, data, password })
  } catch (error) {
    if (dir === undefined) rmSync(home, { recursive: true, force: true })
    throw error
  }
  const port = await freePort()
  const url = `postgres://errand:${password}@127.0.0.1:${port}/postgres`
  const settings = { ...commonSettings, port, ...(fsync ? {} : unsafeSettings) }
  const options = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
  let running: Running | undefined

  const start = async (): Promise<void> => {
    if (running) throw new Error('PostgreSQL is running already')
    const temporary = dir === undefined ? home : ''
    running = await launchPostgres({
      command: [join(bin, 'postgres'), '-D', data, ...options],
      user,
      home,
      data,
      temporary,
    })
  }
  const kill = async (): Promise<void> => {
    if (!running) return
    process.kill(running.pid, 'SIGKILL')
    await running.end('keep')
    running = undefined
  }
  const stop = async (): Promise<void> => {
    await running?.end('remove')
    running = undefined
    if (dir === undefined) rmSync(home, { recursive: true, force: true })
  }
  try {
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    url,
    get pid() {
      return running?.pid
    },
    stop,
    kill,
    start,
    createDatabase: () => createDatabase(url),
  }
}

/** Small, for many short tests: connections for several replicas, no Unix socket (its path has a length limit). */
const commonSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 200,
  shared_buffers: '64MB',
  timezone: 'UTC',
}
const unsafeSettings = { fsync: 'off', full_page_writes: 'off' }

async function initialise(given: Place & { bin: string; password: string }): Promise<void> {
  const { bin, user, home, data, password } = given
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  if (user.uid !== undefined) chownSync(passwordFile, user.uid, user.gid ?? user.uid)
  // Other users of the machine can reach a loopback port: without a password they would be superusers here.
  await runTool(
    join(bin, 'initdb'),
    [
      '-D',
      data,
      '-U',
      'errand',
      '-A',
      'scram-sha-256',
      '--pwfile',
      passwordFile,
      '-E',
      'UTF8',
      '--locale',
      'C.UTF-8',
      '--no-sync',
    ],
    { ...user, cwd: home },
  )
  rmSync(passwordFile)
}
