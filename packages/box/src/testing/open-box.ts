import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { encodeBundle } from '../bundle.ts'
import type { Bundle, BundlePhase } from '../bundle.ts'
import { FrameReader } from '../frames.ts'
import type { Exit, Frame, PhaseFacts } from '../frames.ts'

/** What one bundle came to. */
export interface Told {
  frames: Frame[]
  stdout: string
  stderr: string
  exits: Exit[]
  facts: PhaseFacts[]
  tar: Buffer
}

export interface Opened {
  pid: number
  stdin: NodeJS.WritableStream
  stdout: Readable
  /** Sends a bundle and settles at the box's last word, or at its end. */
  run(given?: Partial<Bundle>, phase?: Partial<BundlePhase>): Promise<Told>
  /** The same for bytes that may be no bundle; then its input ends. */
  feed(bytes: Uint8Array): Promise<Told>
  ended: Promise<unknown[]>
  /** A directory for each bundle, made by the box. */
  workDirs: string
  close(): Promise<void>
}

export const asRoot = process.getuid?.() === 0
/** Whom code runs as, and boxes of a test that are not root. */
export const someUser = { uid: 61_990, gid: 61_990 }

/** A box of its own; `user` is whom the box itself runs as. */
export function openBox(
  binary: string,
  args: readonly string[] = ['serve'],
  { user, stdio = [] }: { user?: typeof someUser; stdio?: 'pipe'[] } = {},
): Opened {
  const workDirs = mkdtempSync(join(tmpdir(), 'errand-box-'))
  const child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'inherit', ...stdio], detached: true, ...user })
  const [stdin, stdout] = [child.stdin!, child.stdout!]
  const ended = once(child, 'exit')
  stdin.on('error', () => {})
  let frames: Frame[] = []
  let settle: () => void = () => {}
  const reader = new FrameReader((frame) => {
    frames.push(frame)
    if (frame.type === 'done') settle()
  })
  stdout.on('data', (bytes: Buffer) => reader.write(Buffer.from(bytes)))
  child.on('close', () => settle())
  let number = 0
  const told = async (send: () => void): Promise<Told> => {
    frames = []
    const done = new Promise<void>((resolve) => (settle = resolve))
    send()
    await done
    return tell(frames)
  }
  return {
    pid: child.pid!,
    stdin,
    stdout,
    ended,
    workDirs,
    run: (given, phase) =>
      told(() => stdin.write(encodeBundle(bundleOf(join(workDirs, String(number++)), given, phase)))),
    feed: (bytes) => told(() => stdin.end(bytes)),
    async close() {
      stdin.end()
      await ended
      rmSync(workDirs, { recursive: true, force: true })
    },
  }
}

/** Runs `main.sh` unless told otherwise. */
export function bundleOf(
  path: string,
  given: Partial<Bundle> = {},
  phase: Partial<BundlePhase> = {},
): Bundle {
  return {
    workDir: { path, make: true },
    files: [],
    stdin: '',
    phases: [phaseOf(phase)],
    ...given,
  }
}

export function phaseOf(given: Partial<BundlePhase> = {}): BundlePhase {
  return {
    kind: 'run',
    limitMs: 20_000,
    capBytes: 1024 * 1024,
    killAtCap: true,
    goOn: false,
    argv: ['/bin/true'],
    env: { PATH: '/usr/bin:/bin' },
    ...given,
  }
}

function tell(frames: Frame[]): Told {
  const output = (stream: string): string =>
    Buffer.concat(
      frames.flatMap((one) => (one.type === 'output' && one.stream === stream ? [one.bytes] : [])),
    ).toString()
  return {
    frames,
    stdout: output('stdout'),
    stderr: output('stderr'),
    exits: frames.filter((one) => one.type === 'exited'),
    facts: frames.filter((one) => one.type === 'ended'),
    tar: Buffer.concat(frames.flatMap((one) => (one.type === 'artifacts' ? [one.bytes] : []))),
  }
}
