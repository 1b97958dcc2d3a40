import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Agent, ExecutionRecord } from '@errand/shared'
import { describe, expect, it, onTestFailed, onTestFinished, vi } from 'vitest'
import { freePort } from '../../infra/free-port.ts'
import { testDatabase } from '../../infra/test-database.ts'
import { Client } from './harness/client.ts'
import { until } from './harness/until.ts'

const repository = resolve(import.meta.dirname, '../..')
/** A user without a name, a group or a home of its own. */
const stranger = 54_321

/** Where the tests run as root, also as another; else as whoever runs them. */
const users: [string, number | undefined][] =
  process.getuid?.() === 0
    ? [
        ['root', undefined],
        ['another user', stranger],
      ]
    : [['this user', undefined]]

describe('npm start in a fresh checkout', () => {
  it.each(users)('runs a first execution and serves, as %s', async (_, uid) => {
    const checkout = copyOfTheRepository(uid)
    const command = await start({ cwd: checkout, file: 'npm', args: ['start'], uid })
    await command.says('Ctrl-C stops it.')
    expect(command.output).toContain(
      `Errand starts, with its own embedded database and the data in ${checkout}/data`,
    )
    expect(command.output).toMatch(
      /First execution, on local_python_default: succeeded in \d\.\d\d s, sandbox: bubblewrap\n {4}Hello from Errand, by Python 3\./,
    )
    const keyFile = /The admin key is in (.*)/.exec(command.output)?.[1] ?? ''
    expect(statSync(keyFile).mode & 0o777).toBe(0o600)
    const client = new Client(command.url, readFileSync(keyFile, 'utf8').trim())
    const record = await client.run({ executor: 'local_python_default', code: 'print(6 * 7)' })
    expect(record).toMatchObject({ outcome: 'succeeded', stdout: '42\n' })

    command.interrupt()
    await command.ended()
    expect(processesIn(checkout)).toEqual([])
    await expect(fetch(command.url)).rejects.toThrow('fetch failed')
  })
})

describe('the start', () => {
  it('keeps the data, the key and the agent from one start to the next', async () => {
    const { command: first, cwd, env } = await served()
    const before = await first.client.run({ executor: 'local_python_default', code: 'print(1)' })
    first.interrupt()
    expect(await first.ended()).toBe(0)
    const { command: second } = await served({ cwd, env })
    expect(second.output).toMatch(/First execution, on local_python_default: succeeded/)
    expect(await second.client.execution(before.id)).toEqual(before)
    const { data } = await second.client.get<{ data: Agent[] }>('/agents')
    expect(data.map((one) => one.agent_id)).toEqual([before.agent_id])
  })

  it('refuses a data directory that is in use, naming the process that has it', async () => {
    const { cwd } = await served({ env: {} })
    const second = await start({ cwd })
    expect(await second.ended()).not.toBe(0)
    expect(second.output).toMatch(/data.* is in use by process \d+/)
    expect(second.output).toContain('errand: the API has ended (exit code 1)')
  })

  it('says so when the port is taken', async () => {
    const { command } = await served()
    const env = { DATABASE_URL: await testDatabase() }
    const second = await start({ cwd: temporary(), port: Number(new URL(command.url).port), env })
    expect(await second.ended()).not.toBe(0)
    expect(second.output).toContain('EADDRINUSE')
  })

  it('goes on without its agent when that is revoked, and does not let it in again', async () => {
    const { command, cwd, env } = await served()
    const { data } = await command.client.get<{ data: Agent[] }>('/agents')
    await command.client.request('DELETE', `/agents/${data[0]?.agent_id}`)
    await command.says('the API goes on without it')
    command.interrupt()
    expect(await command.ended()).toBe(0)
    const { command: second } = await served({ cwd, env })
    expect(second.output).toContain('was revoked, or belongs to another database: it is not started')
    expect((await second.client.get<{ data: Agent[] }>('/agents')).data).toEqual([])
  })

  it.each(['apps/api', 'apps/agent'])('ends all when %s dies', async (app) => {
    const { command, cwd } = await served()
    const victim = processesIn(cwd).find((one) => one.command.includes(`${app}/src/main.ts`))
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    expect(await command.ended()).toBe(1)
    expect(command.output).toMatch(/errand: the (API|agent) has ended \(SIGKILL\)/)
    expect(processesIn(cwd)).toEqual([])
  })

  it('leaves nothing running when it is killed', async () => {
    const { command, cwd } = await served()
    process.kill(command.pid, 'SIGKILL')
    await vi.waitFor(() => expect(processesIn(cwd)).toEqual([]), 30_000)
  })

  it('shows every reason against the configuration and starts nothing', async () => {
    const command = await start({
      cwd: temporary(),
      env: { ERRAND_RETENTION_DAYS: 'x', ERRAND_LOCAL_AGENT: 'y' },
    })
    expect(await command.ended()).toBe(1)
    expect(command.output).toBe(
      'errand: ERRAND_RETENTION_DAYS: expected number, received string\nERRAND_LOCAL_AGENT: expected one of "on"|"off"\n',
    )
  })

  it('serves without an agent when that is asked', async () => {
    const { command } = await served({
      env: { ERRAND_LOCAL_AGENT: 'off', DATABASE_URL: await testDatabase() },
    })
    expect(command.output).not.toContain('First execution')
    for (const executor of ['local_python_default', 'docker_python_default']) {
      const { id } = await command.client.submit({ executor, code: '' })
      const waits: Partial<ExecutionRecord> = { status: 'waiting', waiting_reason: 'no agent is enrolled' }
      expect(await command.client.execution(id)).toMatchObject(waits)
    }
  })
})

interface Served {
  command: Command
  cwd: string
  env: NodeJS.ProcessEnv
}

/** A start that has come to its end; with PostgreSQL, which is there sooner, where `env` does not say. */
async function served(given: Partial<Omit<Served, 'command'>> = {}): Promise<Served> {
  const { cwd = temporary(), env = { DATABASE_URL: await testDatabase() } } = given
  const command = await start({ cwd, env })
  await command.says('Ctrl-C stops it.')
  return { command, cwd, env }
}

interface StartOptions {
  cwd: string
  file?: string
  args?: string[]
  uid?: number | undefined
  port?: number
  env?: NodeJS.ProcessEnv
}

async function start(options: StartOptions): Promise<Command> {
  const { cwd, file = process.execPath, args = [join(repository, 'infra/start.ts')], uid, env } = options
  const port = options.port ?? (await freePort())
  const child = spawn(file, args, {
    cwd,
    ...(uid !== undefined && { uid, gid: uid }),
    env: { PATH: process.env['PATH'], HOME: cwd, NO_COLOR: '1', ERRAND_PORT: String(port), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // As a shell does: Ctrl-C signals the whole group.
    detached: true,
  })
  const command = new Command(child, `http://127.0.0.1:${port}`, join(cwd, 'data/admin-key'))
  onTestFinished(async () => {
    command.interrupt()
    await command.ended()
  })
  onTestFailed(() => console.error(command.output))
  return command
}

class Command {
  readonly url: string
  output = ''
  readonly #child: ChildProcess
  readonly #keyFile: string

  constructor(child: ChildProcess, url: string, keyFile: string) {
    this.#child = child
    this.url = url
    this.#keyFile = keyFile
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.output += text.toString()
      })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get client(): Client {
    return new Client(this.url, readFileSync(this.#keyFile, 'utf8').trim())
  }

  get #alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async says(text: string): Promise<void> {
    await until(`the output has ${text}`, () => {
      if (!this.#alive) throw new Error(`it ended, and said:\n${this.output}`)
      return this.output.includes(text)
    })
  }

  interrupt(): void {
    if (this.#alive) process.kill(-this.pid, 'SIGINT')
  }

  async ended(): Promise<number | string | null> {
    if (this.#alive) await once(this.#child, 'close')
    return this.#child.exitCode ?? this.#child.signalCode
  }
}

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'errand-start-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** The files of the repository in a directory of `uid`; the npm packages are shared by hard links. */
function copyOfTheRepository(uid: number | undefined): string {
  const copy = join(temporary(), 'errand')
  mkdirSync(copy)
  for (const name of readdirSync(repository).filter(
    (one) => !['.git', 'node_modules', 'data', 'logs'].includes(one),
  ))
    cpSync(join(repository, name), join(copy, name), { recursive: true, preserveTimestamps: true })
  execFileSync('cp', ['-al', join(repository, 'node_modules'), copy])
  if (uid !== undefined) for (const dir of [copy, resolve(copy, '..')]) chownSync(dir, uid, uid)
  return copy
}

function processesIn(cwd: string): { pid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((one) => /^\d+$/.test(one))
    .flatMap((pid) => {
      try {
        if (readlinkSync(`/proc/${pid}/cwd`) !== cwd) return []
        return [
          { pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') },
        ]
      } catch {
        // It ended meanwhile.
        return []
      }
    })
}
