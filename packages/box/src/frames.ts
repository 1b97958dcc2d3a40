import { signalName } from './signal-name.ts'
import { phaseKinds } from './bundle.ts'
import type { PhaseKind } from './bundle.ts'

/** What a box says, in order. For each phase: `started`, output, `exited`, the rest of the output, `ended`. */
export type Frame =
  /** The phase's process is being started. */
  | { type: 'started'; phase: PhaseKind; index: number }
  | { type: 'output'; stream: 'stdout' | 'stderr'; bytes: Uint8Array }
  /** A stream has gone beyond its cap, so far by so many bytes in all; said once. From here on it is only counted. */
  | { type: 'capped'; stream: 'stdout' | 'stderr'; bytes: number }
  /** The main process has ended; its descendants are killed now and pipes drained. */
  | ({ type: 'exited'; phase: PhaseKind; index: number; ms: number } & Exit)
  | ({ type: 'ended'; phase: PhaseKind; index: number } & PhaseFacts)
  /** A piece of the tar of artifacts; `truncated` once something did not fit or was no regular file. */
  | { type: 'artifacts'; bytes: Uint8Array }
  | { type: 'artifacts_omitted'; path: string; reason: string }
  /** Our own failure: nothing more of this bundle follows but `done`. */
  | { type: 'failed'; reason: string; stage: string; errno: number }
  /** The last of this bundle. */
  | { type: 'done' }
  /** A station's last word to a request (`station.ts`). */
  | { type: 'answered'; answer: StationAnswer; errno: number }

/** `passed_on`: the run has ended and its journal was passed on, all of it. */
export const stationAnswers = ['passed_on', 'no_such_run', 'not_begun', 'removed', 'not_removed'] as const
export type StationAnswer = (typeof stationAnswers)[number]

/** How a main process ended. `notExecuted`: the command could not be started (errno). */
export type Exit = {
  exitCode: number | null
  signal: string | null
  notExecuted: number | null
  /** Why the box killed it; null when it ended by itself. */
  killed: Killed | null
}

export const killedReasons = ['asked', 'deadline', 'output', 'cpu_time', 'memory', 'hung_up'] as const
export type Killed = (typeof killedReasons)[number]

export interface PhaseFacts {
  /** True counts of what was written. */
  stdoutBytes: number
  stderrBytes: number
  cpuMs: number
  /** Of the control group where the box has one of its own (a container), else of the largest process. */
  peakMemoryBytes: number
  /** Processes that the kernel killed for memory in the box's control group. */
  oomKills: number
}

/** The stream is not a box's. */
export class BrokenFrames extends Error {
  override readonly name = 'BrokenFrames'
}

const maxFrame = 128 * 1024
const headBytes = 5

/** Takes what comes from a box apart, however it is cut. A frame is a letter, a length (4 bytes), and so many bytes. */
export class FrameReader {
  readonly #onFrame: (frame: Frame) => void
  #rest: Buffer = Buffer.alloc(0)
  /** How many bytes the frames took that were whole. */
  consumed = 0

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame
  }

  /** @throws {BrokenFrames} */
  write(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (rest.length >= headBytes) {
      const length = rest.readUInt32LE(1)
      if (length > maxFrame) throw new BrokenFrames(`a frame of ${length} bytes`)
      if (rest.length < headBytes + length) break
      const letter = String.fromCharCode(rest[0]!)
      this.consumed += headBytes + length
      this.#onFrame(decodeWhole(letter, rest.subarray(headBytes, headBytes + length)))
      rest = rest.subarray(headBytes + length)
    }
    this.#rest = rest
  }
}

/** Code that runs as a box's own user can write into its journal: nothing may be expected of what a frame holds. */
function decodeWhole(letter: string, body: Buffer): Frame {
  try {
    return decode(letter, body)
  } catch (error) {
    if (error instanceof BrokenFrames) throw error
    throw new BrokenFrames(`a frame ${JSON.stringify(letter)} of ${body.length} bytes`, { cause: error })
  }
}

function decode(letter: string, body: Buffer): Frame {
  switch (letter) {
    case 'S':
      return { type: 'started', ...phaseOf(body) }
    case 'o':
      return { type: 'output', stream: 'stdout', bytes: body }
    case 'e':
      return { type: 'output', stream: 'stderr', bytes: body }
    case 'c':
      return {
        type: 'capped',
        stream: body[0] === 0 ? 'stdout' : 'stderr',
        bytes: Number(body.readBigUInt64LE(1)),
      }
    case 'X':
      return {
        type: 'exited',
        ...phaseOf(body),
        ...exitOf(body),
        ms: Number(body.readBigUInt64LE(8)) / 1_000,
      }
    case 'E':
      return { type: 'ended', ...phaseOf(body), ...factsOf(body) }
    case 'A':
      return { type: 'artifacts', bytes: body }
    case 'O': {
      const [path = '', reason = ''] = body.toString().split('\0')
      return { type: 'artifacts_omitted', path, reason }
    }
    case '!': {
      const [stage = '', reason = ''] = body.toString('utf8', 4).split('\0')
      return { type: 'failed', errno: body.readInt32LE(0), stage, reason }
    }
    case 'Z':
      return { type: 'done' }
    case 'Q':
      return {
        type: 'answered',
        answer: known(stationAnswers[body.readUInt8(0)]),
        errno: body.readInt32LE(1),
      }
    default:
      throw new BrokenFrames(`a frame ${JSON.stringify(letter)}`)
  }
}

function phaseOf(body: Buffer): { phase: PhaseKind; index: number } {
  return { phase: known(phaseKinds[body.readUInt8(0)]), index: body.readUInt8(1) }
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('a number that has no meaning')
  return value
}

/** kind, index, how (0 exited, 1 by a signal, 2 not executed), killed (0 or one more than its place), value. */
function exitOf(body: Buffer): Exit {
  const how = body[2]
  const value = body.readInt32LE(4)
  return {
    exitCode: how === 0 ? value : null,
    signal: how === 1 ? signalName(value) : null,
    notExecuted: how === 2 ? value : null,
    killed: killedReasons[body[3]! - 1] ?? null,
  }
}

/** kind, index, 2 spare; then 8 bytes each. */
function factsOf(body: Buffer): PhaseFacts {
  const at = (place: number): number => Number(body.readBigUInt64LE(4 + place * 8))
  return {
    stdoutBytes: at(0),
    stderrBytes: at(1),
    cpuMs: at(2) / 1_000,
    peakMemoryBytes: at(3),
    oomKills: at(4),
  }
}
