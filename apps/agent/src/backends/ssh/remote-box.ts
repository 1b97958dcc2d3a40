import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokenFrames, FrameReader } from '@errand/box'
import type { Bundle, Frame, PhaseFacts, PhaseKind, StationAnswer } from '@errand/box'
import { Lost } from '../backend.ts'
import type { BoxConnection, BoxListener } from '../box/box-connection.ts'
import type { PhaseLimit } from '../box/run-in-box.ts'
import type { RemoteTarget } from './remote-target.ts'
import { SshFailure } from './ssh-failure.ts'
import type { Station } from './station.ts'

export interface RemoteBoxParts {
  remote: RemoteTarget
  /** What takes the bundle; or for how long to look for a run to which an earlier process has sent it. */
  start: { station: Station } | { lookForMs: number }
  /** Of the run's directory there, and its path. */
  name: string
  dir: string
  phases: readonly PhaseLimit[]
  /** Writes a bundle as it is read there. */
  encode: (bundle: Bundle) => Uint8Array
  random: () => number
}

/** How long after its deadline a run may be collected. */
export const collectMs = 5_000
/** How long after its deadline a run is ended by other means, when its box has not. */
const overdueMs = 1_000
/** A bundle may take so long on its way. */
const deliveryMs = 60_000
/** A box has this much beyond its phases: to read its bundle, to end them, to clear up. */
const aroundMs = 60_000

interface Answered {
  answer: StationAnswer | 'cut'
  errno: number
}

/**
 * A box on a target that is there for one run, which outlives our way to it: when that breaks, the run is found again
 * from another connection and read on, to the byte.
 */
export class RemoteBox implements BoxConnection {
  readonly #parts: RemoteBoxParts
  #listener!: BoxListener
  #station: Station | undefined
  /** Of the journal, in whole frames. */
  #read = 0
  #killed = false
  #forcing: Promise<'ended' | 'no_such_run' | 'unknown'> | undefined
  /** Why it was ended by other means. */
  #forced: 'asked' | 'deadline' | undefined
  #done = false
  #failed = false
  #phase: { kind: PhaseKind; index: number; startedAt: number; exited: boolean } & PhaseFacts
  /** When the last phase is to have ended, monotonic. */
  #deadline = Infinity
  /** Until when there is any use in coming back for it. */
  #collectUntil = Infinity
  #overdue: NodeJS.Timeout | undefined
  #hopeless: NodeJS.Timeout | undefined
  /** When something came last, monotonic. */
  #heardAt = 0
  /** Before the next way back; none after a station that brought something. */
  #pauseMs = 0
  #gone: Promise<void> = Promise.resolve()

  constructor(parts: RemoteBoxParts) {
    this.#parts = parts
    if ('station' in parts.start) this.#station = parts.start.station
    this.#phase = emptyPhase(parts.phases[0]!.kind, 0)
  }

  /** Settles when nothing of the run is left on the target, or that is left to the next sweep. */
  get gone(): Promise<void> {
    return this.#gone
  }

  listen(listener: BoxListener): void {
    this.#listener = listener
  }

  encode(bundle: Bundle): Uint8Array {
    return this.#parts.encode(bundle)
  }

  /** First the bundle, where it was not sent before, then kills. */
  send(bytes: Uint8Array): void {
    if (this.#deadline === Infinity && 'station' in this.#parts.start) this.#begin(bytes)
    else {
      this.#killed = true
      this.#station?.kill()
    }
  }

  follow(): void {
    this.#begin(new Uint8Array(0))
  }

  kill(): void {
    this.#collectUntil = Math.min(this.#collectUntil, performance.now() + collectMs)
    this.#watch()
    void this.#force('asked')
  }

  /** The bundle was not sent: nothing has begun. */
  release(): void {
    if (this.#deadline === Infinity) this.#leaveStation()
  }

  #begin(bundle: Uint8Array): void {
    this.#gone = this.#follow(bundle)
      .catch((error: Error) => {
        this.#parts.remote.abandon(this.#parts.name)
        this.#end(error)
      })
      .finally(() => this.#unwatch())
  }

  /** From the bundle to the end of the journal, over as many stations as it takes. */
  async #follow(bundle: Uint8Array): Promise<void> {
    const { remote, name, dir, start } = this.#parts
    const mostMs = this.#timeFrom(0) + aroundMs
    const begin = (station: Station): void => station.begin(dir, mostMs, bundle)
    let request = begin
    const begunBefore = 'lookForMs' in start
    let begunAgain = false
    if (begunBefore) {
      this.#deadline = performance.now() + start.lookForMs
      this.#watch()
      const lost = await this.#comeBack()
      if (lost) {
        remote.abandon(name)
        this.#end(new Lost(lost))
        return
      }
      request = (station) => station.follow(dir, 0)
    } else this.#expect(0, deliveryMs)
    let preparedAgain = false
    for (;;) {
      const { answer, errno } = await this.#ask(request)
      const nothingYet = this.#read === 0
      if (answer === 'passed_on') {
        if (!this.#done) await this.#forcing
        this.#end(this.#forced ? undefined : nothingYet ? notBegun(errno) : endedUnsaid(errno))
        // The other bundle may be on its way still, and must find the directory: a later sweep removes it.
        const removed = begunAgain || (await this.#ask((station) => station.remove())).answer === 'removed'
        if (!removed) remote.abandon(name)
        this.#leaveStation()
        return
      }
      if (answer === 'not_begun' && begunAgain && errno === constants.errno.EEXIST) {
        request = (station) => station.follow(dir, 0)
        continue
      }
      const { greeted, exitCode, complaint } = this.#station!
      // Its program did not even start.
      const refused = !greeted && nothingYet && (exitCode === 126 || exitCode === 127)
      if (!preparedAgain && (refused || (answer === 'not_begun' && errno === constants.errno.ENOENT))) {
        preparedAgain = true
        this.#leaveStation()
        remote.missesPlace()
        const lost = await this.#comeBack()
        if (lost === undefined) continue
        this.#end(begunAgain || begunBefore ? new Lost(lost) : new Error(lost))
        return
      }
      if (refused) {
        remote.abandon(name)
        this.#end(new Error(`the box on the target cannot be run: ${complaint.trim()}`))
        return
      }
      if (answer === 'not_begun') {
        remote.abandon(name)
        this.#leaveStation()
        this.#end(new Error(`the target cannot begin a run: errno ${errno}`))
        return
      }
      if (answer === 'no_such_run' && nothingYet && !begunAgain && !begunBefore) {
        // The bundle has not come to it whole. (Should it still: the directory can be made once only.)
        begunAgain = true
        this.#expect(0, deliveryMs)
        request = begin
        continue
      }
      if (answer === 'no_such_run') {
        remote.abandon(name)
        this.#leaveStation()
        this.#end(new Lost('the target knows nothing of the run any more'))
        return
      }
      const unfit = !greeted && nothingYet ? complaint.trim() : ''
      this.#station = undefined
      if (this.#done) {
        remote.abandon(name)
        return
      }
      // Nothing is on its way any more.
      if (nothingYet) this.#deadline = Math.min(this.#deadline, performance.now() + this.#timeFrom(0))
      const lost = await this.#comeBack()
      if (lost) {
        remote.abandon(name)
        this.#end(new Lost(unfit === '' ? lost : `${lost}; its last words: ${unfit}`))
        return
      }
      request = (station) => station.follow(dir, this.#read)
    }
  }

  /** What a station answers at the end; until then its frames go to the listener. */
  #ask(request: (station: Station) => void): Promise<Answered> {
    const station = this.#station!
    return new Promise((resolve) => {
      const before = this.#read
      const reader = new FrameReader((frame) => {
        if (frame.type === 'answered') return resolve(frame)
        this.#read = before + reader.consumed
        this.#frame(frame)
      })
      station.listen({
        data: (bytes) => {
          this.#heardAt = performance.now()
          this.#pauseMs = 0
          try {
            reader.write(bytes)
            this.#watch()
          } catch (error) {
            if (!(error instanceof BrokenFrames)) throw error
            this.#broken(error)
            station.close()
            resolve({ answer: 'cut', errno: 0 })
          }
        },
        closed: () => resolve({ answer: 'cut', errno: 0 }),
      })
      request(station)
      if (this.#killed) station.kill()
    })
  }

  #frame(frame: Frame): void {
    if (this.#done || this.#failed) return
    const phase = this.#phase
    if (frame.type === 'started') {
      this.#phase = emptyPhase(frame.phase, frame.index)
      this.#expect(frame.index)
    } else if (frame.type === 'output') phase[bytesOf[frame.stream]] += frame.bytes.length
    else if (frame.type === 'capped') phase[bytesOf[frame.stream]] = frame.bytes
    else if (frame.type === 'exited') {
      phase.exited = true
      // Woken and asked by `box kill`, because its time was long up.
      if (frame.killed === 'asked' && !this.#killed) frame = { ...frame, killed: 'deadline' }
    } else if (frame.type === 'done') {
      this.#done = true
      this.#unwatch()
      // The program's files may be many.
      this.#hopeless = setTimeout(() => this.#giveUp(), aroundMs).unref()
    }
    this.#listener.frame(frame)
  }

  /** A phase begins, or will `moreMs` from now: from then on it and those after it have their time. */
  #expect(index: number, moreMs = 0): void {
    this.#deadline = performance.now() + this.#timeFrom(index) + moreMs
    this.#watch()
  }

  #timeFrom(index: number): number {
    return this.#parts.phases.slice(index).reduce((sum, { limitMs }) => sum + limitMs, 0)
  }

  /** Until when there is any use in waiting for more: what still comes has taken its time on the way. */
  get #until(): number {
    return Math.max(Math.min(this.#deadline + collectMs, this.#collectUntil), this.#heardAt + collectMs)
  }

  #watch(): void {
    if (this.#done || this.#failed) return
    this.#unwatch()
    const now = performance.now()
    const overdueAt = Math.max(this.#deadline, now) + overdueMs
    this.#overdue = setTimeout(() => void this.#force('deadline'), overdueAt - now).unref()
    this.#hopeless = setTimeout(() => this.#giveUp(), this.#until - now).unref()
  }

  #unwatch(): void {
    clearTimeout(this.#overdue)
    clearTimeout(this.#hopeless)
  }

  /** The target is there, and says nothing: nor will it to anybody else on this connection. */
  #giveUp(): void {
    // Who comes back for it has its own patience.
    if (!this.#station) return
    const { remote, name } = this.#parts
    remote.abandon(name)
    this.#end(
      new Lost(`${remote.description} said nothing until ${collectMs / 1_000} s after the run's time`),
    )
    remote.distrust()
  }

  /** Another station; or, in words, why there is none. */
  async #comeBack(): Promise<string | undefined> {
    const { remote, random } = this.#parts
    let reason = `it was away until ${collectMs / 1_000} s after the run's time`
    for (;;) {
      await sleep(
        Math.min(this.#pauseMs * (0.5 + random() / 2), Math.max(0, this.#until - performance.now())),
      )
      this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, firstPauseMs), lastPauseMs)
      const left = this.#until - performance.now()
      if (left <= 0 || this.#failed) return `the link to ${remote.description} was lost: ${reason}`
      try {
        this.#station = await within(remote.station(), left, (late) => remote.handBack(late))
        if (this.#station) return undefined
      } catch (error) {
        if (!(error instanceof SshFailure)) throw error
        reason = error.message
        if (hopeless.has(error.code)) return `the link to ${remote.description} was lost: ${reason}`
      }
    }
  }

  /** Ends the run by other means; what it has written is read then, and how it ended said in its box's place. */
  async #force(reason: 'asked' | 'deadline'): Promise<void> {
    if (this.#done || this.#failed || this.#forcing) return
    const { remote, name } = this.#parts
    // Where there is no way to it, whoever comes back for it will see.
    this.#forcing = remote.kill(name).catch(() => 'unknown' as const)
    const killed = await this.#forcing
    if (killed === 'unknown') this.#forcing = undefined
    if (this.#done || this.#failed || killed === 'unknown') return
    this.#forced = reason
    if (killed === 'no_such_run') {
      remote.abandon(name)
      this.#end(new Error(`${remote.description} did not begin the run in its time`))
    }
    // Its journal has ended, and its station says so when all has come, unless it can't any more.
    else
      do await sleep(stationPatienceMs)
      while (!this.#done && !this.#failed && this.#heardAt > performance.now() - stationPatienceMs)
    if (!this.#done) remote.distrust()
  }

  #end(fault: Error | undefined): void {
    if (this.#done || this.#failed) return
    if (fault) {
      this.#failed = true
      this.#unwatch()
      this.#listener.closed(fault)
      return
    }
    const { kind: phase, index, startedAt, exited, ...facts } = this.#phase
    const ms = performance.now() - startedAt
    const killed = { exitCode: null, signal: 'SIGKILL', notExecuted: null, killed: this.#forced! }
    if (!exited) this.#frame({ type: 'exited', phase, index, ms, ...killed })
    this.#frame({ type: 'ended', phase, index, ...facts })
    this.#frame({ type: 'done' })
  }

  #broken(error: BrokenFrames): void {
    this.#parts.remote.abandon(this.#parts.name)
    this.#end(new Lost(`what comes from the target's box is not its own any more: ${error.message}`))
  }

  #leaveStation(): void {
    if (this.#station) this.#parts.remote.handBack(this.#station)
    this.#station = undefined
  }
}

const bytesOf = { stdout: 'stdoutBytes', stderr: 'stderrBytes' } as const
const firstPauseMs = 100
const lastPauseMs = 2_000
const stationPatienceMs = 300
/** Trying again changes nothing about these, or would do harm. */
const hopeless = new Set(['host_key_mismatch', 'authentication_refused', 'key_unreadable'])

function endedUnsaid(errno: number): Lost {
  return new Lost(`the box on the target was ended before it could say how the program ended${whyOf(errno)}`)
}

/** A box starts nothing before it has said so. */
function notBegun(errno: number): Error {
  return new Error(`the box on the target was ended before it began${whyOf(errno)}`)
}

function whyOf(errno: number): string {
  return errno === constants.errno.ENOSPC ? ": the target's disk is full" : ''
}

function emptyPhase(kind: PhaseKind, index: number) {
  return {
    kind,
    index,
    startedAt: performance.now(),
    exited: false,
    stdoutBytes: 0,
    stderrBytes: 0,
    cpuMs: 0,
    peakMemoryBytes: 0,
    oomKills: 0,
  }
}

/** Undefined when it takes longer; then `late` gets what comes of it. */
async function within<T>(promise: Promise<T>, ms: number, late: (value: T) => void): Promise<T | undefined> {
  const timeout = new AbortController()
  const timer = sleep(Math.max(0, ms), 'late' as const, { signal: timeout.signal }).catch(
    () => 'late' as const,
  )
  const first = await Promise.race([promise.then((value) => ({ value })), timer])
  timeout.abort()
  if (first !== 'late') return first.value
  promise.then(late, () => {})
  return undefined
}
