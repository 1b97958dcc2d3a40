import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDatabase } from './create-database.ts'
import { freePort } from './free-port.ts'
import { ownedDirectory } from './owned-directory.ts'
import { postgresBin, serverUser } from './postgres-bin.ts'
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
    running = await launch({
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

interface Place {
  user: { uid?: number; gid?: number }
  home: string
  data: string
}

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

interface Running {
  pid: number
  /** Asks for a fast shutdown, if it is not down yet; returns when the postmaster and all its backends have ended. */
  end(data: 'keep' | 'remove'): Promise<void>
}

/**
 * The shell is the lifeline: it waits for a line on its stdin. A line is the request to shut down, and says what
 * becomes of the data; the end of input without one means that our process died, and then both go.
 * PostgreSQL and every backend hold the shell's stdout and nobody else does: its end says that all are gone.
 */
const lifeline = `
"$@" 2>>"$HOME_DIR/log" &
echo $!
exec >&-
if read -r data; then kill -INT $!; else kill -QUIT $!; fi
wait $!
if [ "$data" != keep ] && [ -n "$TEMPORARY" ]; then rm -rf "$TEMPORARY"; fi
`

async function launch(given: Place & { command: string[]; temporary: string }): Promise<Running> {
  const { command, user, home, data, temporary } = given
  const shell = spawn('/bin/sh', ['-c', lifeline, 'sh', ...command], {
    ...user,
    cwd: home,
    // A session of its own: Ctrl-C must not reach the shell, it learns of our end by its stdin.
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, HOME_DIR: home, TEMPORARY: temporary },
  })
  shell.unref()
  const stdin = shell.stdin as Socket
  const stdout = shell.stdout as Socket
  let pid = 0
  let gone = false
  stdin.on('error', () => {})
  stdout.on('data', (text: Buffer) => (pid = Number(text.toString())))
  stdout.once('close', () => (gone = true))
  const ended = once(shell, 'exit')
  const end = async (data: 'keep' | 'remove'): Promise<void> => {
    stdin.end(`${data}\n`)
    shell.ref()
    stdout.ref()
    await ended
    if (!gone) await once(stdout, 'close')
  }
  const deadline = Date.now() + 60_000
  while (!isReady(data, pid)) {
    if (gone || Date.now() > deadline) {
      await end('keep')
      throw new Error(`PostgreSQL did not start:\n${readLog(home)}`)
    }
    await sleep(10)
  }
  // A caller that forgot `stop` still ends; the lifeline does the rest.
  stdin.unref()
  stdout.unref()
  return { pid, end }
}

/** The last line of `postmaster.pid` says so, and its first line whose it is (an older one may lie there). */
function isReady(data: string, pid: number): boolean {
  try {
    const lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')
    return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
  } catch {
    return false
  }
}

function readLog(home: string): string {
  try {
    return readFileSync(join(home, 'log'), 'utf8').split('\n').slice(-20).join('\n')
  } catch {
    return '(no log)'
  }
}
