import { stationGreeting } from '@errand/box'
import type { ClientChannel } from 'ssh2'

export interface StationListener {
  data(bytes: Buffer): void
  /** Nothing more comes. */
  closed(): void
}

/** A channel to a `box station`, which serves one run after the other. */
export class Station {
  readonly #channel: ClientChannel
  #listener: StationListener | undefined
  #before: Buffer | undefined = Buffer.alloc(0)
  /** The last of what it complained. */
  complaint = ''
  /** With which its program ended; null where it did not, or nobody can say. */
  exitCode: number | null = null
  closed = false

  constructor(channel: ClientChannel) {
    this.#channel = channel
    channel.on('data', (bytes: Buffer) => this.#received(bytes))
    channel.stderr.on(
      'data',
      (bytes: Buffer) => (this.complaint = (this.complaint + bytes.toString('utf8')).slice(-500)),
    )
    channel.on('error', () => {})
    channel.once('close', (code?: number | null) => {
      this.exitCode = code ?? null
      this.closed = true
      this.#listener?.closed()
    })
  }

  /** Whether its program has ever said anything. */
  get greeted(): boolean {
    return this.#before === undefined
  }

  listen(listener: StationListener): void {
    this.#listener = listener
    if (this.closed) listener.closed()
  }

  rest(): void {
    this.#listener = undefined
  }

  write(bytes: Uint8Array): void {
    if (!this.closed) this.#channel.write(bytes)
  }

  onceClosed(act: () => void): void {
    this.#channel.once('close', act)
  }

  close(): void {
    this.#channel.close()
  }

  #received(bytes: Buffer): void {
    if (this.#before === undefined) return this.#listener?.data(bytes)
    const all = Buffer.concat([this.#before, bytes])
    const at = all.indexOf(stationGreeting)
    if (at === -1) {
      this.#before = all.subarray(-mostNoise)
      return
    }
    this.#before = undefined
    const rest = all.subarray(at + stationGreeting.length)
    if (rest.length > 0) this.#listener?.data(rest)
  }
}

const mostNoise = 1024
