import { beginRequest, followRequest, killMessage, removeRequest, stationGreeting } from '@errand/box'
import type { ClientChannel } from 'ssh2'

export interface StationListener {
  data(bytes: Buffer): void
  /** Nothing more comes. */
  closed(): void
}

/** What serves runs on a target, one after the other; what it says of them are frames, at last `answered`. */
export interface Station {
  readonly closed: boolean
  /** Whether its program has ever said anything. */
  readonly greeted: boolean
  /** The last of what it complained. */
  readonly complaint: string
  /** With which its program ended; null where it did not, or nobody can say. */
  readonly exitCode: number | null
  listen(listener: StationListener): void
  rest(): void
  /** Begins a run in a directory that it makes; after `mostMs` it ends in any case. */
  begin(dir: string, mostMs: number, bundle: Uint8Array): void
  /** `offset`: how many bytes of frames have come already. */
  follow(dir: string, offset: number): void
  /** Removes the directory of the run that it served last. */
  remove(): void
  /** Ends the phase that runs. */
  kill(): void
  onceClosed(act: () => void): void
  close(): void
}

/** A channel to a `box station`. */
export class BoxStation implements Station {
  readonly #channel: ClientChannel
  #listener: StationListener | undefined
  #before: Buffer | undefined = Buffer.alloc(0)
  complaint = ''
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

  begin(dir: string, mostMs: number, bundle: Uint8Array): void {
    this.#write(Buffer.concat([beginRequest(dir, mostMs), bundle]))
  }

  follow(dir: string, offset: number): void {
    this.#write(followRequest(dir, offset))
  }

  remove(): void {
    this.#write(removeRequest)
  }

  kill(): void {
    this.#write(killMessage)
  }

  onceClosed(act: () => void): void {
    this.#channel.once('close', act)
  }

  close(): void {
    this.#channel.close()
  }

  #write(bytes: Uint8Array): void {
    if (!this.closed) this.#channel.write(bytes)
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
