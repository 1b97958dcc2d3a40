import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ScriptedApi } from './scripted-api.ts'

export interface AgentProcess {
  child: ChildProcess
  /** Its exit code, or the signal that ended it. */
  exit: Promise<number | string>
  /** What it wrote to stderr so far. */
  log: () => string
}

/** Real agent processes with the fake backend, one after another in one directory, at a tenth of all times. */
export class AgentProcesses {
  readonly dir = mkdtempSync(join(tmpdir(), 'errand-agent-'))
  readonly #api: ScriptedApi
  readonly #started: AgentProcess[] = []

  constructor(api: ScriptedApi) {
    this.#api = api
  }

  start(env: Record<string, string> = {}): AgentProcess {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../main.ts')], {
      env: {
        PATH: process.env['PATH'],
        ERRAND_URL: this.#api.url,
        ERRAND_AGENT_DIR: this.dir,
        ERRAND_ENROLLMENT_TOKEN: 'token-1',
        ERRAND_AGENT_NAME: 'tester',
        ERRAND_FAKE_BACKEND: '1',
        ERRAND_TIME_SCALE: '0.1',
        ...env,
      },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let log = ''
    child.stderr?.on('data', (bytes: Buffer) => (log += bytes.toString()))
    // Not the child's own `close`: it never comes once the parent has disconnected.
    const exit = Promise.all([once(child, 'exit'), once(child.stderr!, 'close')]).then(
      ([[code, signal]]) => (code ?? signal) as number | string,
    )
    const started = { child, exit, log: () => log }
    this.#started.push(started)
    return started
  }

  /** Kills what is left. */
  async close(): Promise<void> {
    for (const { child, exit } of this.#started) {
      child.kill('SIGKILL')
      await exit
    }
    rmSync(this.dir, { recursive: true, force: true })
  }
}
