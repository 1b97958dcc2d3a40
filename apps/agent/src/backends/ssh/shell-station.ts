import { posix } from 'node:path'
import type { ClientChannel } from 'ssh2'
import { cksum } from './cksum.ts'
import { SshFailure } from './ssh-failure.ts'
import { BoxStation } from './station.ts'
import type { Station, StationListener } from './station.ts'

/** `shell-box.sh` in the place of a `box station`, for one run: each request is a channel of its own. */
export class ShellStation implements Station {
  /** Runs the script with these words. */
  readonly #exec: (words: string) => Promise<ClientChannel>
  readonly #kill: (name: string) => void
  #listener: StationListener | undefined
  #dir = ''
  /** To be ended as soon as it is there. */
  #killing = false
  greeted = false
  complaint = ''
  readonly exitCode = null
  closed = false

  constructor(exec: (words: string) => Promise<ClientChannel>, kill: (name: string) => void) {
    this.#exec = exec
    this.#kill = kill
  }

  listen(listener: StationListener): void {
    this.#listener = listener
    if (this.closed) listener.closed()
  }

  /** It serves no other. */
  rest(): void {
    this.#listener = undefined
    this.closed = true
  }

  begin(dir: string, _mostMs: number, bundle: Uint8Array): void {
    void this.#ask('begin', dir, [cksum(bundle), bundle.length], bundle)
  }

  follow(dir: string, offset: number): void {
    void this.#ask('follow', dir, [offset])
  }

  remove(): void {
    void this.#ask('remove', this.#dir)
  }

  kill(): void {
    if (this.greeted) this.#kill(posix.basename(this.#dir))
    else this.#killing = true
  }

  onceClosed(): void {
    // It is not kept.
  }

  close(): void {
    this.#close()
  }

  async #ask(act: string, dir: string, numbers: number[] = [], input?: Uint8Array): Promise<void> {
    this.#dir = dir
    const listener = this.#listener
    try {
      const run = `"$HOME"/.errand/runs/${posix.basename(dir)}`
      const channel = await this.#exec([act, run, ...numbers].join(' '))
      const said = new BoxStation(channel)
      said.listen({
        data: (bytes) => {
          this.greeted = true
          if (this.#killing) this.kill()
          this.#killing = false
          if (!this.closed) listener?.data(bytes)
        },
        closed: () => (this.complaint = said.complaint),
      })
      // With 0 it ends after an answer only.
      channel.once('close', (code?: number | null) => code !== 0 && this.#close())
      channel.end(input)
    } catch (error) {
      if (!(error instanceof SshFailure)) throw error
      this.complaint = error.message
      this.#close()
    }
  }

  #close(): void {
    if (this.closed) return
    this.closed = true
    this.#listener?.closed()
  }
}
