import type { BundlePhase } from '@errand/box'
import { runtimes, sizeLimits } from '@errand/shared'
import type { KeptAssignment, Phase } from '@errand/shared'
import { expandCommand } from '../../runtimes/expand-command.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import type { Program } from '../../runtimes/program.ts'
import type { Run } from '../backend.ts'
import { refuseOversized } from './refuse-oversized.ts'
import type { PhaseLimit } from './run-in-box.ts'

export interface ProgramPlace {
  run: Run
  found: FoundRuntime
  program: Program
  /** What a program finds in its environment at this place, beside what the caller gave. */
  env: Readonly<Record<string, string>>
  /** Of the interpreter, before all else that it is told. */
  options?: readonly string[]
  /** What starts a command in a sandbox, where there is one. */
  wrapper?: readonly string[] | undefined
}

/** Which phases a job has, and their time limits. */
export function phaseLimits({
  runtime,
  limits,
}: Pick<KeptAssignment, 'runtime' | 'limits'>): (PhaseLimit & { kind: Phase })[] {
  const { compile } = runtimes[runtime]
  const run = { kind: 'run', limitMs: limits.timeout_sec * 1_000 } as const
  return compile ? [{ kind: 'compile', limitMs: compile.timeout_sec * 1_000 }, run] : [run]
}

/** The phases of a job in a box: the compile step where the runtime has one, and the program's own. */
export function programPhases({
  run,
  found,
  program,
  env,
  options = [],
  wrapper,
}: ProgramPlace): BundlePhase[] {
  const { assignment, submission } = run
  const { limits } = assignment
  const runtime = runtimes[assignment.runtime]
  const common = {
    env: { ...env, ...runtime.env, ...submission.env },
    wrapper,
    goOn: false,
    cpuMs: limits.cpu_time_sec === undefined ? undefined : limits.cpu_time_sec * 1_000,
  }
  const argv = (words: readonly string[]): string[] =>
    expandCommand(words, runtime, { ...found, options, program, args: submission.args })
  const own = {
    compile: {
      capBytes: sizeLimits.compileOutput,
      killAtCap: false,
      argv: argv(runtime.compile?.command ?? []),
    },
    run: {
      capBytes: limits.output_limit_kb * 1_024,
      killAtCap: submission.on_output_limit === 'kill',
      argv: argv(runtime.run),
    },
  }
  const phases = phaseLimits(assignment).map((limit) => ({ ...common, ...limit, ...own[limit.kind] }))
  for (const phase of phases) refuseOversized(phase.argv, phase.env)
  return phases
}
