import { dependenciesFor, emptyResult, keptAssignment } from '@errand/shared'
import type {
  Assignment,
  ExecutorSettings,
  Phase,
  RunResult,
  Stream,
  StreamTotals,
  Submission,
} from '@errand/shared'
import { Lost, Missing, NotStarted, Rejected } from '../backends/backend.ts'
import type { Run, RunEnd } from '../backends/backend.ts'
import type { ServerClock } from '../connection/server-clock.ts'
import { crashPoint } from '../crash-point.ts'
import type { KeptRun } from '../spool/kept-run.ts'
import { refusal } from '../policy.ts'
import { adopt } from './adopt.ts'
import { InputUnavailable, readInput } from './input.ts'
import { maintain } from './maintain.ts'
import { Output } from './output.ts'
import { errorOfStop, errorText, fittingReport, outcomeOf, outcomeOfStop, rounded } from './result.ts'
import type { AdoptedJob, AssignedJob, RunnerParts, RunningJob } from './runner.ts'

type Ended = Partial<RunResult> & Pick<RunResult, 'outcome'> & Partial<Pick<RunEnd, 'gone'>>

/**
 * Takes one accepted job to its result, or hands it back when its program was never started. Settles once everything
 * of it is gone from this host but the result in the spool.
 */
export async function execute(
  job: RunningJob,
  parts: RunnerParts,
  spoolFailed: (error: unknown) => void,
): Promise<void> {
  const { spool, delivery, log } = parts
  let cut = false
  const output = openOutput(job, parts, (error) => {
    cut = true
    spoolFailed(error)
  })
  const ended = await run(job, parts, output, spoolFailed)
  const totals = output.end()
  if (ended instanceof Missing) {
    if (job.dropped) return
    log.info({ execution_id: job.id, fence: job.fence, reason: ended.message }, 'locked')
    delivery.lock(job, ended.need, ended.message)
    return
  }
  if (typeof ended === 'string') {
    if (job.dropped) return
    log.info({ execution_id: job.id, fence: job.fence, reason: ended }, 'handed back')
    delivery.handBack(job, ended)
    return
  }
  const { gone, ...facts } = ended
  if (!job.dropped) {
    if (cut) facts.error ??= "the agent's disk was full: output is missing"
    const result = complete(job, parts, totals, facts)
    try {
      spool.finish(job, result)
    } catch (error) {
      // It is delivered from memory; should we die before, the job is lost.
      spoolFailed(error)
    }
    crashPoint('spooled_result', job)
    log.debug({ execution_id: job.id, fence: job.fence, outcome: result.outcome }, 'ended')
    delivery.ended(job, result)
  }
  // Should we die from here on, the job is not lost: so another may run in its slot.
  job.vacate()
  await gone
  crashPoint('removed', job)
}

function openOutput(job: RunningJob, parts: RunnerParts, onSpoolFailure: (error: unknown) => void): Output {
  const { spool, delivery, time } = parts
  return new Output({
    capBytes: job.assignment.limits.output_limit_kb * 1024,
    flushEveryMs: time.flushEveryMs,
    spool: (stream, offset, bytes) => {
      // The spool has forgotten it: what its program says while it dies would stay there for ever.
      if (job.dropped) return
      spool.append(job, stream, offset, bytes)
      crashPoint(offset === 0 ? 'first_chunk' : 'mid_output', job)
      delivery.spooled(job, stream, offset + bytes.length)
    },
    onSpoolFailure,
  })
}

/** How it ended; or, in words, why it is handed back; or what it lacks. */
async function run(
  job: RunningJob,
  parts: RunnerParts,
  output: Output,
  spoolFailed: (error: unknown) => void,
): Promise<Ended | Missing | string> {
  try {
    if (job.adopted) return endedBy(job, await adopt(job, parts, output))
    const refused = refusal(parts.policy, job.assignment)
    if (refused !== undefined) throw new Rejected(refused)
    if (job.assignment.type === 'code.execute')
      return endedBy(job, await runCode(job, parts, output, spoolFailed))
    const begin = starting(job, parts, spoolFailed)
    const limitMs = job.assignment.limits.timeout_sec * 1_000
    const brought = await maintain(job, parts, output, () => begin('run', limitMs))
    return { outcome: 'succeeded', phase: 'run', exit_code: 0, brought }
  } catch (error) {
    return endedWithout(job, parts, error)
  } finally {
    job.ending.exited()
  }
}

async function runCode(
  job: AssignedJob,
  parts: RunnerParts,
  output: Output,
  spoolFailed: (error: unknown) => void,
): Promise<RunEnd> {
  const { assignment, backend, ending } = job
  const mayStart = () => parts.lease.alive
  const submission = await readInput(assignment, { ...parts, mayStart }, ending.signal)
  const { on_output_limit: onOutputLimit } = submission
  output.onLimit = () => {
    if (onOutputLimit === 'kill') ending.stop('output_limit')
  }
  return backend.run({
    assignment,
    submission,
    dependencies: dependenciesOf(assignment, submission),
    slot: job.slot,
    signal: ending.signal,
    starting: starting(job, parts, spoolFailed, backend.adopt && { onOutputLimit }),
    exited: (tookMs) => ending.exited(tookMs),
    output: (stream: Stream, bytes: Uint8Array) => output.write(stream, bytes),
    counted: (stream: Stream, bytes: number) => output.counted(stream, bytes),
  } satisfies Run)
}

function dependenciesOf({ executor, runtime }: Assignment, { dependencies }: Submission): string[] {
  return dependenciesFor(executor.settings as ExecutorSettings, runtime, dependencies)
}

/** @param adoptable of a run that could be adopted should we die: what else is to be kept of it */
function starting(
  job: AssignedJob,
  parts: RunnerParts,
  spoolFailed: (error: unknown) => void,
  adoptable?: Pick<KeptRun, 'onOutputLimit'>,
): Run['starting'] {
  const { spool, delivery, lease, clock, monotonic, time } = parts
  const keep = (onOutputLimit: KeptRun['onOutputLimit'], backend: unknown): KeptRun => ({
    assignment: keptAssignment.parse(job.assignment),
    slot: job.slot,
    prepareMs: monotonic() - job.assignedAt,
    onOutputLimit,
    backend,
  })
  return (phase: Phase, limitMs: number, kept?: object) => {
    if (!job.ending.goesOn) throw new NotStarted(`it is to end: ${job.ending.reason}`)
    if (!lease.alive) throw new NotStarted("the agent's lease ran out before it could start")
    if (!job.ending.started) {
      try {
        spool.starting(job, clock.now(), adoptable && keep(adoptable.onOutputLimit, kept))
      } catch (error) {
        spoolFailed(error)
        throw new NotStarted("the agent's disk takes no more")
      }
      crashPoint('starting', job)
      delivery.starting(job)
      setTimeout(() => delivery.running(job), time.runningAfterMs).unref()
    }
    job.ending.begin(phase, limitMs)
  }
}

function endedBy(job: RunningJob, end: RunEnd): Ended {
  crashPoint('exited', job)
  const { killed_for: _, ...facts } = end
  const { reason } = job.ending
  return {
    ...facts,
    outcome: outcomeOf(end, reason),
    error: end.error ?? (reason && errorOfStop[reason]),
    compile: fittingReport(end.compile),
  }
}

/** The backend came to no end of a program: stopped before, refused, or our own failure. */
function endedWithout(job: RunningJob, parts: RunnerParts, error: unknown): Ended | Missing | string {
  const { reason } = job.ending
  // Of what was adopted its backend says when it is certain that nothing ran.
  const started = job.ending.started || (job.adopted !== undefined && !(error instanceof NotStarted))
  const ownFault = !(
    error instanceof Rejected ||
    error instanceof Missing ||
    error instanceof InputUnavailable ||
    error instanceof NotStarted ||
    error instanceof Lost
  )
  if (ownFault && !(reason && !started) && job.assignment.type === 'code.execute')
    parts.log.error({ execution_id: job.id, fence: job.fence, err: error }, 'the run failed by our own fault')
  if (reason && (started || reason === 'canceled'))
    return { outcome: outcomeOfStop[reason], error: errorOfStop[reason] }
  if (reason) return 'the agent gave it up before it started'
  // Once it has started it can't wait any more: that is the backend's fault, and its message says of what.
  if (error instanceof Missing && !started) return error
  if (error instanceof Rejected) return { outcome: 'rejected', error: error.message }
  if (error instanceof InputUnavailable) return error.message
  if (error instanceof Lost) return { outcome: 'lost', error: error.message }
  if (error instanceof NotStarted) return started ? { outcome: 'lost', error: error.message } : error.message
  const message = error instanceof Error ? error.message : String(error)
  return { outcome: 'infra_error', error: message }
}

function complete(
  job: RunningJob,
  { hostname, clock }: RunnerParts,
  totals: Record<Stream, StreamTotals>,
  ended: Ended,
): RunResult {
  return rounded({
    ...emptyResult(hostname, totals),
    ...(job.adopted ? adoptedTimes(job, clock) : times(job, clock)),
    ...ended,
    hostname: ended.hostname ?? hostname,
    error: ended.error ? errorText(ended.error) : null,
  })
}

type Times = Pick<RunResult, 'start_time_ms' | 'end_time_ms' | 'duration_sec' | 'prepare_ms' | 'run_ms'>

function times({ ending, assignedAt }: RunningJob, clock: ServerClock): Times {
  const { startedAt, endedAt, ranMs, durationMs } = ending.times
  return {
    start_time_ms: startedAt === undefined ? null : clock.at(startedAt),
    end_time_ms: endedAt === undefined ? null : clock.at(endedAt),
    duration_sec: startedAt === undefined ? null : durationMs / 1000,
    prepare_ms: startedAt === undefined ? null : startedAt - assignedAt,
    run_ms: ranMs ?? null,
  }
}

/** We saw neither its start nor, where it ended before we came, its end: but its box may have measured how long it took. */
function adoptedTimes({ ending, adopted }: AdoptedJob, clock: ServerClock): Times {
  const { endedAt, ranMs, durationMs, measured } = ending.times
  const start_time_ms = adopted.startedAtMs!
  const end = measured
    ? Math.round(start_time_ms + durationMs)
    : Math.max(start_time_ms, clock.at(endedAt ?? 0))
  return {
    start_time_ms,
    end_time_ms: endedAt === undefined ? null : end,
    duration_sec: endedAt === undefined ? null : measured ? durationMs / 1000 : (end - start_time_ms) / 1000,
    prepare_ms: adopted.run.prepareMs,
    run_ms: measured ? (ranMs ?? null) : null,
  }
}
