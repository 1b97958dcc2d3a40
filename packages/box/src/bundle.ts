import { createHash } from 'node:crypto'

/** What a box is asked to do: the files it makes and the phases it runs, one after the other. */
export interface Bundle {
  /** Absolute. `make`: the box makes it, 0700 and `user`'s; else it is there, empty, and is `user`'s. */
  workDir: { path: string; make: boolean }
  /** Made likewise, for temporary files. */
  tmpDir?: string | undefined
  /** Whom code runs as; absent: as the box itself. */
  user?: { uid: number; gid: number } | undefined
  files: readonly { path: string; content: string | Uint8Array }[]
  /** Standard input of the `run` phase: a regular file that has no name, so that it can be opened again. */
  stdin: string | Uint8Array
  /** Besides `core`, which is 0 always. */
  rlimits?: Partial<Record<RlimitName, number>> | undefined
  phases: readonly BundlePhase[]
  /** Regular files below the work directory that are streamed out as a tar after the last phase. */
  artifacts?: { globs: readonly string[]; capBytes: number } | undefined
}

export interface BundlePhase {
  /** `question`: a command whose answer is wanted; it gets no standard input. */
  kind: PhaseKind
  /** The box ends it then, whether anybody still listens or not. */
  limitMs: number
  /** Bytes of each stream that are passed on; what goes beyond is counted. */
  capBytes: number
  /** Whether a stream that goes beyond ends the phase. */
  killAtCap: boolean
  /** Whether the next phase follows when this one fails. */
  goOn: boolean
  /**
   * Of all processes of the phase together; looked at a few times a second. Absent: no limit. Outside a container what
   * those used is not seen whose parents ignore their end.
   */
  cpuMs?: number | undefined
  /** The first word is a path, or a name that is looked for in `PATH` of `env`. */
  argv: readonly string[]
  env: Readonly<Record<string, string>>
  /**
   * A command that starts `/proc/self/fd/6 init` (the box itself) inside a sandbox as its first process. It gets
   * descriptors up to 6 and must hand them on; what it writes to 2 is why there is no sandbox.
   */
  wrapper?: readonly string[] | undefined
}

export const phaseKinds = ['compile', 'run', 'question'] as const
export type PhaseKind = (typeof phaseKinds)[number]

/** Numbers of Linux, the same on x64 and arm64. */
const rlimitNumbers = { fsize: 1, stack: 3, nproc: 6, nofile: 7 } as const
export type RlimitName = keyof typeof rlimitNumbers

/** What ends the phase that runs; nothing where none does. */
export const killMessage = Buffer.from('K')

/**
 * A bundle as the box reads it: `BOX1`, the payload's length (8 bytes), its SHA-256 (32 bytes), the payload. The box
 * does nothing before it has read all of it and the checksum is right. Numbers are little-endian.
 */
export function encodeBundle(bundle: Bundle): Uint8Array {
  const payload = Buffer.concat(recordsOf(bundle))
  const head = Buffer.alloc(44)
  head.write('BOX1', 'latin1')
  head.writeBigUInt64LE(BigInt(payload.length), 4)
  createHash('sha256').update(payload).digest().copy(head, 12)
  return Buffer.concat([head, payload])
}

/** Each a letter, the length of what follows (4 bytes), and that. */
function recordsOf(bundle: Bundle): Buffer[] {
  const { workDir, tmpDir, user, files, stdin, rlimits = {}, phases, artifacts } = bundle
  return [
    record(workDir.make ? 'w' : 'W', workDir.path),
    tmpDir === undefined ? [] : record('t', tmpDir),
    user === undefined ? [] : record('u', uint32(user.uid), uint32(user.gid)),
    files.map(({ path, content }) => record('f', uint32(Buffer.byteLength(path)), path, content)),
    stdin.length === 0 ? [] : record('i', stdin),
    Object.entries(rlimits).map(([name, value]) =>
      record('l', uint32(rlimitNumbers[name as RlimitName]), uint64(value)),
    ),
    phases.flatMap(phaseRecords),
    artifacts === undefined
      ? []
      : [record('z', uint64(artifacts.capBytes)), artifacts.globs.map((glob) => record('g', glob))],
  ].flat(3)
}

function phaseRecords(phase: BundlePhase): Buffer[][] {
  const { kind, limitMs, capBytes, killAtCap, goOn, cpuMs = 0, argv, env, wrapper = [] } = phase
  const flags = (killAtCap ? 1 : 0) | (goOn ? 2 : 0)
  return [
    record(
      'p',
      Buffer.from([phaseKinds.indexOf(kind), flags]),
      uint32(Math.ceil(limitMs)),
      uint32(Math.ceil(cpuMs)),
      uint64(capBytes),
    ),
    ...wrapper.map((word) => record('x', word)),
    ...argv.map((word) => record('a', word)),
    ...Object.entries(env).map(([name, value]) => record('e', `${name}=${value}`)),
  ]
}

function record(letter: string, ...parts: (string | Uint8Array)[]): Buffer[] {
  const bytes = parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part)))
  const length = bytes.reduce((sum, one) => sum + one.length, 0)
  return [Buffer.from(letter, 'latin1'), uint32(length), ...bytes]
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
