import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

const keptLogBytes = 1024 * 1024

/**
 * A process of Errand under test. It has an IPC channel, at whose end it ends itself: also a test run that is killed
 * leaves none behind.
 */
export class RunningProcess {
  readonly name: string
  readonly child: ChildProcess
  readonly #ended: Promise<unknown>
  #log = ''

  /**
   * @param env all that it gets, beside PATH and a HOME
   * @param within a command that becomes the one whose words follow its own
   */
  constructor(
    name: string,
    main: string,
    { cwd, env, within = [] }: { cwd: string; env: NodeJS.ProcessEnv; within?: readonly string[] },
  ) {
    this.name = name
    const [file, ...args] = [...within, process.execPath, main]
    this.child = spawn(file, args, {
      cwd,
      env: { PATH: process.env['PATH'], HOME: cwd, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#ended = once(this.child, 'close')
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.#log = `${this.#log}${text.toString()}`.slice(-keptLogBytes)
      })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** What it printed so far, both streams as they came. */
  get log(): string {
    return this.#log
  }

  /** The first message it sends on its channel. @throws with its log where it ends before that */
  async message(): Promise<unknown> {
    const [first] = (await Promise.race([once(this.child, 'message'), this.#ended])) as unknown[]
    if (typeof first === 'object' && first !== null) return first
    throw new Error(`${this.name} ended before it was ready:\n${this.log}`)
  }

  /** Its exit code, or the name of the signal that ended it. */
  async ended(): Promise<number | string | null> {
    if (this.alive) await this.#ended
    return this.child.exitCode ?? this.child.signalCode
  }

  /** SIGTERM, and waits for its end; after `withinMs` SIGKILL. */
  async stop(withinMs = 30_000): Promise<number | string | null> {
    if (this.alive) this.child.kill('SIGTERM')
    const force = setTimeout(() => this.child.kill('SIGKILL'), withinMs)
    const end = await this.ended()
    clearTimeout(force)
    return end
  }

  async kill(): Promise<void> {
    if (this.alive) this.child.kill('SIGKILL')
    await this.ended()
  }
}
