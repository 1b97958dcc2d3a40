import { closeSync } from 'node:fs'
import { runtimes } from '@errand/shared'
import type { CompileReport, Isolation, RuntimeName } from '@errand/shared'
import { expandCommand } from '../../runtimes/expand-command.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import type { Program } from '../../runtimes/program.ts'
import type { Run, RunEnd } from '../backend.ts'
import type { Channels } from './channels.ts'
import { CompileOutput } from './compile-output.ts'
import { environmentOf } from './environment.ts'
import type { Command, Ends, Launch } from './launch.ts'
import { refuseOversized } from './refusals.ts'
import { runPhase } from './run-phase.ts'
import type { PhaseEnd } from './run-phase.ts'
import type { WorkDir } from './work-dir.ts'

export interface ProgramParts {
  run: Run
  name: RuntimeName
  found: FoundRuntime
  program: Program
  dir: WorkDir
  /** `dir` as the program sees it. */
  seen: { home: string; tmp: string }
  channels: Channels
  uid: number | undefined
  isolation: Isolation
  launch(command: Command, ends: Ends): Launch
  /** A descriptor to read this from, for the program. */
  file(content: string): number
  drainMs: number
}

export type ProgramEnd = RunEnd & Pick<PhaseEnd, 'drained'>

/** Compiles where the runtime says so, and runs. A compile step that fails is the end. */
export async function runProgram(parts: ProgramParts): Promise<ProgramEnd> {
  const { run, name, found, channels, uid, drainMs } = parts
  const runtime = runtimes[name]
  const common = { run, channels, uid, drainMs }
  let compile: CompileReport | null = null
  if (runtime.compile) {
    const printed = new CompileOutput()
    const ended = await runPhase({
      ...common,
      phase: 'compile',
      limitMs: runtime.compile.timeout_sec * 1_000,
      stdin: undefined,
      launch: launcher(parts, runtime.compile.command),
      output: (stream, bytes) => printed.write(stream, bytes),
    })
    const { exitCode: exit_code, signal } = ended.exit
    compile = { exit_code, signal, duration_sec: ended.ms / 1_000, ...printed.report() }
    if (exit_code !== 0 || ended.stopped) return endOf('compile', ended)
  }
  const stdin = run.submission.stdin === '' ? undefined : parts.file(run.submission.stdin)
  using _ = { [Symbol.dispose]: () => stdin !== undefined && closeSync(stdin) }
  const ended = await runPhase({
    ...common,
    phase: 'run',
    limitMs: run.assignment.limits.timeout_sec * 1_000,
    stdin,
    launch: launcher(parts, runtime.run),
    output: (stream, bytes) => run.output(stream, bytes),
  })
  return endOf('run', ended)

  function endOf(phase: 'compile' | 'run', { exit, drained }: PhaseEnd): ProgramEnd {
    return {
      phase,
      exit_code: exit.exitCode,
      signal: exit.signal,
      out_of_memory: false,
      killed_for: null,
      error: null,
      runtime_id: found.id,
      container_id: null,
      usage: null,
      isolation: parts.isolation,
      compile,
      drained,
    }
  }
}

function launcher(parts: ProgramParts, words: readonly string[]): (ends: Ends) => Launch {
  const { run, name, found, program, dir, seen } = parts
  const runtime = runtimes[name]
  const command: Command = {
    words: expandCommand(words, runtime, { ...found, program, args: run.submission.args }),
    env: environmentOf(runtime, run.submission.env, { interpreter: found.interpreter, ...seen }),
    dir,
    tools: [found.interpreter, found.launcher].filter((tool) => tool !== undefined),
  }
  refuseOversized(command.words, command.env)
  return (ends) => parts.launch(command, ends)
}
