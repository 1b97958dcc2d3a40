import { closeSync } from 'node:fs'
import type { Phase, Stream } from '@errand/shared'
import { execa } from 'execa'
import type { Run, StopReason } from '../backend.ts'
import type { Channels } from './channels.ts'
import type { Ends, Exit, Launch } from './launch.ts'
import { kill } from './processes.ts'

export interface PhaseParts {
  run: Run
  phase: Phase
  limitMs: number
  channels: Channels
  /** Standard input, a regular file: a pipe could not be opened again once its writer has gone. */
  stdin: number | undefined
  /** Whom it runs as; undefined: as the agent. */
  uid: number | undefined
  launch: (ends: Ends) => Launch
  output: (stream: Stream, bytes: Uint8Array) => void
  /** How long pipes are read that somebody holds when all processes we know of have gone. */
  drainMs: number
}

export interface PhaseEnd {
  exit: Exit
  stopped: StopReason | null
  ms: number
  /** False where somebody still holds a pipe: then the slot's channels must not be used again. */
  drained: boolean
}

/**
 * Starts the one process of a phase and settles when it and all its descendants have ended and what they wrote was
 * handed over.
 */
export async function runPhase(parts: PhaseParts): Promise<PhaseEnd> {
  const { run } = parts
  using pipes = openPipes(parts)
  const launch = parts.launch(pipes.ends)
  try {
    run.starting(parts.phase, parts.limitMs)
    const process = start(launch, parts.uid)
    pipes.closeEnds()
    const { pid } = process
    const stop = (): void => void (pid && kill(-pid))
    run.signal.addEventListener('abort', stop)
    const { exitCode, signal, code } = await process.result
    run.signal.removeEventListener('abort', stop)
    const { stopped, ms } = run.exited()
    if (pid === undefined) throw new Error(`cannot start ${launch.file}: ${code}`)
    const exit = await launch.settle({ pid, exitCode, signal, stopped: stopped !== null, ms })
    return { exit, stopped, ms, drained: await pipes.drained(parts.drainMs) }
  } finally {
    launch.close()
  }
}

function start(launch: Launch, uid: number | undefined) {
  const result = execa(launch.file, launch.args, {
    cwd: launch.cwd,
    env: launch.env,
    extendEnv: false,
    ...(uid === undefined ? {} : { uid, gid: uid }),
    // Its types know the descriptors up to 9 only.
    stdio: launch.stdio as readonly ['ignore', 3, 3, ...3[]],
    buffer: false,
    // a process group of its own, which `kill(-pid)` ends at once
    detached: true,
    cleanup: false,
    reject: false,
  })
  return { pid: result.nodeChildProcess.pid, result }
}

interface Pipes extends Disposable {
  ends: Ends
  /** Ours of the program's ends: as long as we hold one, reading does not end. */
  closeEnds(): void
  /** Settles when all was read that was ever written; false when that was not to be seen in time. */
  drained(ms: number): Promise<boolean>
}

function openPipes({ channels, stdin, output }: PhaseParts): Pipes {
  const opened = (['stdout', 'stderr'] as const).map((stream) => {
    const { reader, end } = channels.output(stream)
    reader.on('data', (bytes: Buffer) => output(stream, bytes))
    reader.on('error', () => {})
    return { reader, end }
  })
  const [stdout, stderr] = opened
  const ended = Promise.all(
    opened.map(({ reader }) => new Promise((resolve) => reader.once('close', resolve))),
  )
  let open = opened.map(({ end }) => end)
  const closeEnds = (): void => {
    open.forEach((end) => closeSync(end))
    open = []
  }
  return {
    ends: { stdin: stdin ?? 'ignore', stdout: stdout!.end, stderr: stderr!.end },
    closeEnds,
    async drained(ms) {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, ms, false)))
      const all = await Promise.race([ended.then(() => true), late])
      clearTimeout(timer)
      return all
    },
    [Symbol.dispose]() {
      closeEnds()
      for (const { reader } of opened) reader.destroy()
    },
  }
}
