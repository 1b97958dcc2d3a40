import { createHash } from 'node:crypto'
import type { Duplex, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokenFrames, FrameReader, killMessage } from '@errand/box'
import type { Frame, PhaseKind } from '@errand/box'
import { Lost } from '../backend.ts'
import { Replay } from '../replay.ts'
import type { BoxConnection, BoxListener } from '../box/box-connection.ts'
import { demultiplexer } from './demultiplex.ts'
import type { ContainerState, Engine } from './engine.ts'
import { isAway } from './engine-fault.ts'
import { whileAway } from './while-away.ts'

/** The container has ended before its box came to its end. The message holds where that is nobody's limit or wish. */
export class ContainerEnded extends Error {
  override readonly name = 'ContainerEnded'
  /** The phase that ran. */
  readonly phase: PhaseKind | undefined
  /** Its own; undefined where it was removed. */
  readonly exitCode: number | undefined
  /** The kernel killed the box itself for the container's memory. */
  readonly outOfMemory: boolean

  constructor(state: ContainerState | undefined, phase: PhaseKind | undefined, complaint: string) {
    super(describeEnd(state, phase, complaint))
    this.phase = phase
    this.exitCode = state?.exitCode
    this.outOfMemory = state?.exitCode === killedExitCode && state.oomKilled
  }
}

/**
 * The way to the box of one container: frames come on its standard output. By the streams of its first process, and from
 * its log where those are gone, since the container may go on: when its agent died, the Engine did, or the connection was cut.
 */
export class ContainerBox implements BoxConnection {
  readonly #engine: Engine
  readonly #id: string
  readonly #backMs: number
  /** It ends with the first stream, and nobody else gets it. */
  readonly #stdin: Duplex | undefined
  #stream: Readable
  #exit: Promise<void>
  /** Ends the waiting for its exit. */
  readonly #waiting = new AbortController()
  readonly #reader = new FrameReader((frame) => this.#received(frame))
  /** Of its standard output so far: the log begins anew. */
  #bytes = 0
  readonly #hash = createHash('sha256')
  #source: 'streams' | 'log' | 'whole log' = 'streams'
  /** There is no more of it. */
  #isRead = false
  #listener: BoxListener | undefined
  #phase: PhaseKind | undefined
  /** Bytes of output of that. */
  #heard = { stdout: 0, stderr: 0 }
  /** What the box says outside its frames: why it could not begin. */
  #complaint = ''
  #engineWasAway = false
  #isEnding = false
  #done = false

  private constructor(
    engine: Engine,
    id: string,
    backMs: number,
    opened: { stdin?: Duplex; stream: Readable },
  ) {
    this.#engine = engine
    this.#id = id
    this.#backMs = backMs
    this.#stdin = opened.stdin
    this.#stream = opened.stream
    this.#exit = engine.exit(id, this.#waiting.signal, opened.stdin ? 'to-start' : 'started')
    this.#read(opened.stream)
  }

  /**
   * Starts a container that was created: it then waits for its bundle. Nothing of what it says can be missed, and its end
   * neither: both are asked for before it starts.
   *
   * @param backMs how long the Engine may be away before what runs there is lost
   */
  static async start(engine: Engine, id: string, backMs: number): Promise<ContainerBox> {
    const stream = await engine.attach(id)
    const box = new ContainerBox(engine, id, backMs, { stdin: stream, stream })
    try {
      await engine.start(id)
      return box
    } catch (error) {
      box.close()
      throw error
    }
  }

  /** A container that somebody else had started: all that its box has said comes once more. */
  static async adopt(engine: Engine, id: string, backMs: number): Promise<ContainerBox> {
    const stream = await engine.log(id)
    const box = new ContainerBox(engine, id, backMs, { stream })
    box.#source = 'log'
    // Until somebody listens.
    stream.pause()
    return box
  }

  /** Whether it said that a program begins. */
  get hasBegun(): boolean {
    return this.#phase !== undefined
  }

  listen(listener: BoxListener): void {
    this.#listener = listener
    this.#stream.resume()
    if (this.#stream.destroyed) void this.#goOn()
  }

  send(bytes: Uint8Array): void {
    if (this.#stdin?.writable) this.#stdin.write(bytes)
    else if (bytes === killMessage) this.kill()
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

  #read(stream: Readable): void {
    this.#stream = stream
    this.#complaint = ''
    const replay = new Replay(this.#bytes, this.#hash.copy().digest())
    const take = demultiplexer(
      (bytes) => this.#said(replay.take(bytes)),
      (bytes) => this.#complained(bytes),
    )
    stream.on('data', (chunk: Buffer) => {
      try {
        if (stream === this.#stream) take(chunk)
      } catch (error) {
        this.#end(async () => this.#wrong(error as Error))
      }
    })
    // What it is, `close` follows.
    stream.on('error', () => {})
    stream.on('end', () => (this.#isRead = this.#source === 'whole log'))
    stream.on('close', () => void this.#goOn())
    this.#exit.then(
      () => this.#drain(stream),
      () => {},
    )
  }

  #said(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#bytes += bytes.length
    this.#hash.update(bytes)
    this.#reader.write(bytes as Buffer)
  }

  /** What is written may be long on its way; a stream that outlives its container is the Engine's fault, and ends. */
  #drain(stream: Readable): void {
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
    if (this.#source !== 'streams') this.#refuseGaps(frame)
    if (frame.type === 'started') {
      this.#phase = frame.phase
      this.#heard = { stdout: 0, stderr: 0 }
    }
    if (frame.type === 'output') this.#heard[frame.stream] += frame.bytes.length
    // From here on it only counts.
    if (frame.type === 'capped') this.#heard[frame.stream] = Infinity
    this.#listener?.frame(frame)
    if (frame.type === 'done') this.close()
  }

  /** Of a log the Engine may have cut the beginning, and what it was about to write when it died is not there. */
  #refuseGaps(frame: Frame): void {
    const isFirst = this.#phase === undefined && !['failed', 'done'].includes(frame.type)
    if (isFirst && !(frame.type === 'started' && frame.index === 0))
      throw new Lost('the Docker Engine has kept no beginning of what it wrote')
    if (frame.type !== 'ended') return
    const { stdout, stderr } = this.#heard
    if (stdout < frame.stdoutBytes || stderr < frame.stderrBytes)
      throw new Lost('the Docker Engine has not kept all that it wrote')
  }

  #complained(bytes: Buffer): void {
    this.#complaint = (this.#complaint + bytes.toString('latin1')).slice(0, 1_000)
  }

  /** The stream has ended, and the box had not: reads on in the log, and once more when all that will be is there. */
  async #goOn(): Promise<void> {
    if (this.#done || !this.#listener) return
    try {
      const state = await this.#stateNow()
      if (this.#done) return
      if (!state || this.#isRead) return this.#end(async () => this.#ended(state))
      // Where there is more to come, the Engine has closed the stream, and may do so again.
      if (state.running) await sleep(againMs, undefined, { ref: false })
      const log = await whileAway(this.#backMs, () => this.#engine.log(this.#id))
      if (this.#done) return void log.destroy()
      this.#source = state.running ? 'log' : 'whole log'
      this.#exit = this.#engine.exit(this.#id, this.#waiting.signal, 'started')
      this.#read(log)
    } catch (error) {
      this.#end(async () => this.#left(error as Error))
    }
  }

  async #stateNow(): Promise<ContainerState | undefined> {
    // Its streams are closed a moment before the Engine knows of its end.
    const known = this.#exit.then(
      // A log may not have come to its end all the same.
      () => this.#source === 'streams' && this.#ending(),
      () => {},
    )
    await Promise.race([known, sleep(drainMs, undefined, { ref: false })])
    return whileAway(this.#backMs, async () => {
      try {
        return await this.#engine.state(this.#id, answerMs)
      } catch (error) {
        this.#engineWasAway ||= isAway(error)
        throw error
      }
    })
  }

  /** Once, and only where the box has not come to its end. */
  #end(why: () => Promise<Error>): void {
    if (this.#done || !this.#listener) return
    this.close()
    const listener = this.#listener
    this.#ending()
    void why().then((reason) => listener.closed(reason))
  }

  #ending(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.#listener?.ending()
  }

  async #whyEnded(): Promise<Error> {
    try {
      return this.#ended(await this.#engine.state(this.#id, answerMs))
    } catch (error) {
      return this.#left(error as Error)
    }
  }

  #ended(state: ContainerState | undefined): Error {
    // An Engine that is started anew ends what ran there.
    if (this.#engineWasAway && state?.exitCode === killedExitCode && !state.oomKilled)
      return new Lost('its container was ended when the Docker Engine was')
    return new ContainerEnded(state, this.#phase, this.#complaint)
  }

  #left(error: Error): Error {
    return new Lost(`its container was left while it ran: ${error.message}`, { cause: error })
  }

  /** A log that was cut at its beginning, or an Engine that died, may lack what it was told. */
  #wrong(error: Error): Error {
    if (this.#source === 'streams' || !(error instanceof BrokenFrames)) return error
    return new Lost(`what the Docker Engine kept of it is not whole: ${error.message}`, { cause: error })
  }
}

/** How long the Engine may take to close what belongs together, and to kill or look (promise 6 leaves 5 s for all). */
const drainMs = 1_000
const answerMs = 2_000
const againMs = 50

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
