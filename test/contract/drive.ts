import { dependenciesFor, keptAssignment, submission as submissionSchema } from '@errand/shared'
import type { Assignment, Outcome, Stream, StreamTotals, SubmissionBody } from '@errand/shared'
import type { Backend, RunEnd, StopReason } from '../../apps/agent/src/backends/backend.ts'
import { Ending } from '../../apps/agent/src/runner/ending.ts'
import { Output } from '../../apps/agent/src/runner/output.ts'
import { outcomeOf } from '../../apps/agent/src/runner/result.ts'

export interface Driven {
  outcome: Outcome
  end: RunEnd
  stdout: Buffer
  stderr: Buffer
  totals: Record<Stream, StreamTotals>
}

export interface Driving {
  backend: Backend
  /** The executor's settings, as validated. */
  settings: Record<string, unknown>
  submission: Omit<SubmissionBody, 'executor'>
  slot?: number
  requiredLimits?: string[]
  /** Sees each stream's bytes as they are spooled; `stop` ends the run as the runner would. */
  watch?: (stream: Stream, text: string, stop: (reason: StopReason) => void) => void
  /** Called before the backend is; `stop` ends the run as the runner would. */
  begin?: (stop: (reason: StopReason) => void) => void
  /** In place of the compile step's own limit. */
  compileLimitMs?: number
  /** Called in place of spooling `starting`. */
  starting?: (assignment: Assignment, kept: object | undefined) => void
  /** Unix milliseconds; now where absent. */
  submittedAt?: number
}

let fence = 0

/** Runs one submission on a backend with the runner's own parts around it: time limit, output cap, outcome. */
export async function drive(driving: Driving): Promise<Driven> {
  const submission = submissionSchema.parse({ executor: 'contract', ...driving.submission })
  const assignment = assignmentFor(driving, submission)
  const ending = new Ending(() => performance.now())
  const kept: Record<Stream, Buffer[]> = { stdout: [], stderr: [] }
  const output = new Output({
    capBytes: assignment.limits.output_limit_kb * 1024,
    flushEveryMs: 5,
    spool(stream, _offset, bytes) {
      kept[stream].push(Buffer.from(bytes))
      driving.watch?.(stream, Buffer.concat(kept[stream]).toString(), (reason) => ending.stop(reason))
    },
    onSpoolFailure(error) {
      throw error
    },
  })
  output.onLimit = () => {
    if (submission.on_output_limit === 'kill') ending.stop('output_limit')
  }
  driving.begin?.((reason) => ending.stop(reason))
  try {
    const end = await driving.backend.run({
      assignment,
      submission,
      dependencies: dependenciesFor(
        { runtime: 'python', ...(driving.settings as { dependencies?: string[] }) },
        assignment.runtime,
        submission.dependencies,
      ),
      slot: driving.slot ?? 0,
      signal: ending.signal,
      starting(phase, limitMs, keep) {
        driving.starting?.(assignment, keep)
        ending.begin(phase, phase === 'compile' ? (driving.compileLimitMs ?? limitMs) : limitMs)
      },
      exited: (tookMs) => ending.exited(tookMs),
      output: (stream, bytes) => output.write(stream, bytes),
      counted: (stream, bytes) => output.counted(stream, bytes),
    })
    await end.gone
    const totals = output.end()
    const [stdout, stderr] = [Buffer.concat(kept.stdout), Buffer.concat(kept.stderr)]
    return { outcome: outcomeOf(end, ending.reason), end, stdout, stderr, totals }
  } finally {
    ending.exited()
  }
}

/** What an agent that died left of a run, and how the one after it hears of the rest. */
export interface Adopting {
  backend: Backend
  assignment: Assignment
  kept: unknown
  /** What was spooled of its output. */
  stored: Record<Stream, Buffer>
  /** The assignment, as the API sends it again. */
  again?: () => Promise<Assignment>
  watch?: (stream: Stream, bytes: Buffer) => void
  begin?: (stop: (reason: StopReason) => void) => void
}

/** Goes on with a run on a backend as the runner does; throws as that does. */
export async function driveAdoption(adopting: Adopting): Promise<Omit<Driven, 'totals'>> {
  const { backend, assignment, kept, stored } = adopting
  const ending = new Ending(() => performance.now())
  const whole = { ...stored }
  const output = new Output({
    capBytes: assignment.limits.output_limit_kb * 1024,
    flushEveryMs: 5,
    spool(stream, offset, bytes) {
      whole[stream] = Buffer.concat([whole[stream].subarray(0, offset), bytes])
      adopting.watch?.(stream, whole[stream])
    },
    onSpoolFailure(error) {
      throw error
    },
  })
  for (const stream of ['stdout', 'stderr'] as const) output.resume(stream, [stored[stream]])
  adopting.begin?.((reason) => ending.stop(reason))
  try {
    const end = await backend.adopt!({
      assignment: keptAssignment.parse(assignment),
      kept: JSON.parse(JSON.stringify(kept)) as unknown,
      assignmentAgain: adopting.again ?? (() => Promise.resolve(assignment)),
      signal: ending.signal,
      starting: (phase, limitMs) => ending.begin(phase, limitMs),
      exited: (tookMs) => ending.exited(tookMs),
      output: (stream, bytes) => output.write(stream, bytes),
      counted: (stream, bytes) => output.counted(stream, bytes),
    })
    await end.gone
    output.end()
    if (!output.caughtUp) throw new Error('less is left of its output than was stored')
    return { outcome: outcomeOf(end, ending.reason), end, ...whole }
  } finally {
    ending.exited()
  }
}

export function assignmentFor(
  {
    settings,
    requiredLimits,
    backend,
    submittedAt,
  }: Pick<Driving, 'settings' | 'requiredLimits' | 'backend' | 'submittedAt'>,
  submission: Pick<SubmissionBody, 'runtime' | 'timeout_sec' | 'limits'>,
): Assignment {
  return {
    id: crypto.randomUUID(),
    fence: ++fence,
    type: 'code.execute',
    slot_class: 'run',
    attempt: 0,
    attempts_left: false,
    submitted_at_ms: submittedAt ?? Date.now(),
    executor: {
      executor_type: backend.type,
      name: 'contract',
      config_id: crypto.randomUUID(),
      source: 'config',
      settings,
    },
    runtime: submission.runtime ?? 'python',
    limits: {
      timeout_sec: submission.timeout_sec ?? 30,
      output_limit_kb: submission.limits?.output_limit_kb ?? 1_024,
      ...submission.limits,
    },
    required_limits: requiredLimits ?? [],
  }
}
