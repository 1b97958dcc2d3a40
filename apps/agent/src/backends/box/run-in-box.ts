import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import type { Bundle, BundlePhase, Frame, Killed, PhaseFacts } from '@errand/box'
import type { CompileReport, Phase } from '@errand/shared'
import { Rejected } from '../backend.ts'
import type { RunEnd, RunEvents } from '../backend.ts'
import type { BoxConnection } from './box-connection.ts'
import { CompileOutput } from './compile-output.ts'
import { exchange } from './exchange.ts'
import { patientKill } from './patient-kill.ts'

export type BoxedEnd = Pick<
  RunEnd,
  'phase' | 'exit_code' | 'signal' | 'out_of_memory' | 'killed_for' | 'usage' | 'compile'
>

type Exited = Extract<Frame, { type: 'exited' }>

/**
 * Runs the phases of a job in a box: the same on every backend. Settles once the box has said that no process of the
 * run is left and all output was handed over.
 *
 * @param kept what it takes to adopt the run, where its backend can
 * @throws what `exchange` throws, and what `run.starting` does; {Rejected} what no kernel would start
 */
export function runInBox(
  run: RunEvents,
  connection: BoxConnection,
  bundle: Bundle,
  kept?: object,
): Promise<BoxedEnd> {
  const { kind, limitMs } = bundle.phases[0]!
  return hearBox(run, connection, bundle.phases, () => {
    // The way of a large bundle over a slow link is not the program's time.
    run.starting(kind as Phase, limitMs + 2 * bundleMs, kept)
    return bundle
  })
}

/**
 * The same where another process has sent the bundle, and the box says all once more.
 *
 * @param heldBackMs where what a box says may be held back on its way: one that has neither spoken nor ended by then has
 * begun, as without its whole bundle it would have ended
 */
export function adoptInBox(
  run: RunEvents,
  connection: BoxConnection,
  phases: readonly PhaseLimit[],
  heldBackMs?: number,
): Promise<BoxedEnd> {
  return hearBox(run, connection, phases, () => undefined, heldBackMs)
}

export type PhaseLimit = Pick<BundlePhase, 'kind' | 'limitMs'>

async function hearBox(
  run: RunEvents,
  connection: BoxConnection,
  phases: readonly PhaseLimit[],
  begin: () => Bundle | undefined,
  heldBackMs?: number,
): Promise<BoxedEnd> {
  const { signal } = run
  const printed = new CompileOutput()
  const exits: Exited[] = []
  const facts: PhaseFacts[] = []
  let refused: Error | undefined
  const { kill, end } = patientKill(connection)
  const refuse = (error: Error): void => {
    refused ??= error
    kill()
  }
  const hasBegun = (index: number): void => {
    // A kill that was sent for the first phase is read when that runs.
    if (refused || (index === 0 && signal.aborted)) return
    const { kind, limitMs } = phases[index]!
    // The box goes on by itself; a reason that came between two phases ends the second at once. What was sent
    // for it may have been read when the first phase had ended, and meant nothing.
    try {
      run.starting(kind as Phase, limitMs)
    } catch (error) {
      refuse(error as Error)
    }
  }
  const undelivered = (): void => {
    refuse(new Error(`the box did not begin within ${bundleMs / 1_000} s`))
    connection.kill()
  }
  const bundle = begin()
  let silence: NodeJS.Timeout | undefined
  if (bundle) silence = setTimeout(undelivered, bundleMs)
  else if (heldBackMs !== undefined) silence = setTimeout(hasBegun, heldBackMs, 0)
  signal.addEventListener('abort', kill)
  if (!bundle && signal.aborted) kill()
  try {
    const hear = (frame: Frame): void => {
      switch (frame.type) {
        case 'started':
          clearTimeout(silence)
          hasBegun(frame.index)
          return
        case 'output':
          if (compiling()) printed.write(frame.stream, frame.bytes)
          else handOver(frame)
          return
        case 'capped':
          if (compiling()) printed.cut()
          else run.counted(frame.stream, frame.bytes)
          return
        case 'exited':
          exits.push(frame)
          run.exited(frame.ms)
          return
        case 'ended':
          facts.push(frame)
          if (frame.phase === 'run') {
            run.counted('stdout', frame.stdoutBytes)
            run.counted('stderr', frame.stderrBytes)
          }
          return
        case 'artifacts':
        case 'artifacts_omitted':
        case 'failed':
        case 'answered':
        case 'done':
          return
      }
    }
    await exchange(connection, bundle, hear, () => run.exited())
  } catch (error) {
    throw refused ?? error
  } finally {
    clearTimeout(silence)
    end()
    signal.removeEventListener('abort', kill)
  }
  if (refused) throw refused
  return endOf(exits, facts, printed)

  /** What is told once more may not be what it was. */
  function handOver({ stream, bytes }: Extract<Frame, { type: 'output' }>): void {
    if (refused) return
    try {
      run.output(stream, bytes)
    } catch (error) {
      refuse(error as Error)
    }
  }

  function compiling(): boolean {
    return phases[facts.length]?.kind === 'compile'
  }
}

/** 16 MiB at a few Mbit/s. */
const bundleMs = 60_000

function endOf(exits: readonly Exited[], facts: readonly PhaseFacts[], printed: CompileOutput): BoxedEnd {
  const last = exits.at(-1)
  if (!last) throw new Error('the box ended without a phase')
  for (const { notExecuted, phase } of exits)
    if (notExecuted === constants.errno.E2BIG)
      throw new Rejected('an argument or variable is longer than the kernel takes, or all together are')
    else if (notExecuted !== null)
      throw new Error(`the ${phase} command cannot be started: ${getSystemErrorName(-notExecuted)}`)
  const oom = facts.some(({ oomKills }) => oomKills > 0)
  return {
    phase: last.phase as Phase,
    exit_code: last.exitCode,
    signal: last.signal,
    out_of_memory: oom,
    killed_for: last.killed && limitOf[last.killed],
    usage: {
      cpu_time_sec: facts.reduce((sum, { cpuMs }) => sum + cpuMs, 0) / 1_000,
      peak_memory_mb: Math.max(...facts.map(({ peakMemoryBytes }) => peakMemoryBytes)) / 2 ** 20,
    },
    compile: compileReport(exits[0]!, printed),
  }
}

const limitOf: Record<Killed, RunEnd['killed_for']> = {
  deadline: 'wall_time',
  output: 'output_limit',
  memory: 'memory',
  cpu_time: 'cpu_time',
  asked: null,
  hung_up: null,
}

function compileReport(first: Exited, printed: CompileOutput): CompileReport | null {
  if (first.phase !== 'compile') return null
  const { exitCode: exit_code, signal, ms } = first
  return { exit_code, signal, duration_sec: ms / 1_000, ...printed.report() }
}
