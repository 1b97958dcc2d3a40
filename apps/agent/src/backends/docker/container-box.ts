import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { FrameReader } from '@errand/box'
import type { Frame, PhaseKind } from '@errand/box'
import { Lost } from '../backend.ts'
import type { BoxConnection, BoxListener } from '../box/box-connection.ts'
import { demultiplexer } from './demultiplex.ts'
import type { ContainerState, Engine } from './engine.ts'

/** The container has ended before its box came to its end. The message holds where that is nobody's limit or wish. */
export class ContainerEnded extends Error {
  override readonly name = 'ContainerEnded'
  /** The phase that ran. */
  readonly phase: PhaseKind | undefined
  /** The kernel killed the box itself for the container's memory. */
  readonly outOfMemory: boolean

  constructor(state: ContainerState | undefined, phase: PhaseKind | undefined, complaint: string) {
    super(describeEnd(state, phase, complaint))
    this.phase = phase
    this.outOfMemory = state?.exitCode === killedExitCode && state.oomKilled
  }
}

/** The way to the box of one container, by the streams of its first process: frames come on its standard output. */
export class ContainerBox implements BoxConnection {
  readonly #engine: Engine
  readonly #id: string
  readonly #stream: Duplex
  readonly #exit: Promise<void>
  #listener: BoxListener | undefined
  #phase: PhaseKind | undefined
  /** Ends the waiting for its exit. */
  readonly #waiting: AbortController
  /** What the box says outside its frames: why it could not begin. */
  #complaint = ''
  #done = false

  private constructor(
    engine: Engine,
    id: string,
    streams: { stream: Duplex; exit: Promise<void>; waiting: AbortController },
  ) {
    const { stream, exit } = streams
    this.#engine = engine
    this.#id = id
    this.#stream = stream
    this.#exit = exit
    this.#waiting = streams.waiting
    const reader = new FrameReader((frame) => this.#received(frame))
    const take = demultiplexer(
      (bytes) => reader.write(bytes),
      (bytes) => this.#complained(bytes),
    )
    stream.on('data', (chunk: Buffer) => {
      try {
        take(chunk)
      } catch (error) {
        this.#end(async () => error as Error)
      }
    })
    // What it is, `close` follows.
    stream.on('error', () => {})
    stream.on('close', () => this.#end(() => this.#whyEnded()))
    void exit.then(
      () => this.#drain(),
      () => {},
    )
  }

  /**
   * Starts a container that was created: it then waits for its bundle. Nothing of what it says can be missed, and its end
   * neither: both are asked for before it starts.
   */
  static async start(engine: Engine, id: string): Promise<ContainerBox> {
    const waiting = new AbortController()
    const exit = engine.exit(id, waiting.signal)
    exit.catch(() => {})
    let stream: Duplex | undefined
    try {
      stream = await engine.attach(id)
      const box = new ContainerBox(engine, id, { stream, exit, waiting })
      await engine.start(id)
      return box
    } catch (error) {
      stream?.destroy()
      waiting.abort()
      throw error
    }
  }

  listen(listener: BoxListener): void {
    this.#listener = listener
    if (this.#stream.destroyed) this.#end(() => this.#whyEnded())
  }

  send(bytes: Uint8Array): void {
    if (this.#stream.writable) this.#stream.write(bytes)
  }

  kill(): void {
    this.#engine
      .kill(this.#id, answerMs)
      .then(() => sleep(drainMs, undefined, { ref: false }))
      .then(
        () => this.#end(() => this.#whyEnded()),
        (error: Error) =>
          this.#end(async () => new Lost(`it could not be ended: ${error.message}`, { cause: error })),
      )
  }

  /** Nothing more of it is wanted. */
  close(): void {
    this.#done = true
    this.#stream.destroy()
    this.#waiting.abort()
  }

  /** What is written may be long on its way; a stream that outlives its container is the Engine's fault, and ends. */
  #drain(): void {
    const stream = this.#stream
    let idle = true
    const patience = setTimeout(() => {
      idle = true
      // What came while this process was busy is read first.
      setImmediate(() => (idle ? stream.destroy() : patience.refresh()))
    }, drainMs).unref()
    stream.on('data', () => {
      idle = false
      patience.refresh()
    })
    stream.on('close', () => clearTimeout(patience))
  }

  #received(frame: Frame): void {
    if (frame.type === 'started') this.#phase = frame.phase
    this.#listener?.frame(frame)
    if (frame.type !== 'done') return
    this.#done = true
    this.#stream.destroy()
  }

  #complained(bytes: Buffer): void {
    this.#complaint = (this.#complaint + bytes.toString('latin1')).slice(0, 1_000)
  }

  /** Once, and only where the box has not come to its end. */
  #end(why: () => Promise<Error>): void {
    if (this.#done || !this.#listener) return
    this.#done = true
    this.#stream.destroy()
    const listener = this.#listener
    listener.ending()
    void why().then((reason) => {
      this.#waiting.abort()
      listener.closed(reason)
    })
  }

  async #whyEnded(): Promise<Error> {
    try {
      // Its streams are closed a moment before the Engine knows of its end.
      const known = this.#exit.catch(() => {})
      await Promise.race([known, sleep(drainMs, undefined, { ref: false })])
      const state = await this.#engine.state(this.#id, answerMs)
      if (state?.running)
        return new Lost('the connection to its container was cut while it ran, and the container is removed')
      return new ContainerEnded(state, this.#phase, this.#complaint)
    } catch (error) {
      const { message } = error as Error
      return new Lost(`its container was left while it ran: ${message}`, { cause: error })
    }
  }
}

/** How long the Engine may take to close what belongs together, and to kill or look (promise 6 leaves 5 s for all). */
const drainMs = 1_000
const answerMs = 2_000

const killedExitCode = 128 + 9

function describeEnd(
  state: ContainerState | undefined,
  phase: PhaseKind | undefined,
  complaint: string,
): string {
  if (!state) return 'its container was removed from outside while it ran'
  if (phase === undefined)
    return `the box did not begin in its container (exit code ${state.exitCode}): ${complaint.trim() || 'it says nothing'}`
  if (state.exitCode === killedExitCode)
    return 'its container was killed from outside while it ran (exit code 137, not for memory)'
  return `the box ended while it ran (exit code ${state.exitCode}): ${complaint.trim() || 'it says nothing'}`
}
