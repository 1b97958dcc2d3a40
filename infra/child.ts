import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** A process of Errand that ends with this one: it ends itself when its IPC channel does. */
export class Child {
  readonly name: string
  /** Its exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | string>
  readonly #child: ChildProcess

  constructor(name: string, main: string, env: NodeJS.ProcessEnv) {
    this.name = name
    this.#child = spawn(process.execPath, [main], {
      env,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // A group of its own: Ctrl-C reaches only us, and we end the children in order.
      detached: true,
    })
    this.ended = once(this.#child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The first message it sends; undefined when it ends before that. */
  async message(): Promise<unknown> {
    const messages = once(this.#child, 'message').then(([message]) => message as unknown)
    return Promise.race([messages, this.ended.then(() => undefined)])
  }

  /** SIGTERM; the agent takes a second one as "now". */
  signal(): void {
    if (this.alive) this.#child.kill('SIGTERM')
  }
}
