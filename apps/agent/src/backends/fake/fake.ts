import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { Missing, Rejected } from '../backend.ts'
import type { AdoptedRun, Backend, Run, RunEnd } from '../backend.ts'

/** One thing that the fake program does. */
const step = z.union([
  z.strictObject({ stdout: z.string(), times: z.int().min(1).default(1) }),
  z.strictObject({ stderr: z.string(), times: z.int().min(1).default(1) }),
  z.strictObject({ sleep_ms: z.number() }),
  /** Appends `<execution id> <fence>` to a file: counts starts. */
  z.strictObject({ mark: z.string() }),
  z.strictObject({ exit: z.int() }),
  z.strictObject({ signal: z.string() }),
  /** Fails as a backend of its own fault would. */
  z.strictObject({ fail: z.string() }),
])
type Step = z.infer<typeof step>

/** What `code` holds: `{"prepare_ms": 10, "steps": [{"stdout": "hello\n"}, {"sleep_ms": 50}, {"exit": 0}]}`. */
const script = z.strictObject({
  prepare_ms: z.number().default(0),
  reject: z.string().optional(),
  steps: z.array(step),
})

/**
 * Runs nothing: does what the job's `code` says, under limits and signals like any backend. For system tests. It installs
 * nothing either: a dependency `sleep-500` takes so many milliseconds, `gate-1` waits for a file of that
 * name in the folder `ERRAND_FAKE_GATES`, `fail` fails, `fail-once` does at the first attempt, `refuse` is refused.
 */
export function createFake(): Backend {
  const installed = new Set<string>()
  return {
    type: 'localhost',
    probe: () => Promise.resolve({ available: true, isolation: null, missing: [] }),
    runtimes: () => Promise.resolve({ python: '3.0.0' }),
    recover: () => Promise.resolve(),
    async run(run) {
      const set = run.dependencies.join()
      if (set !== '' && !installed.has(set)) throw new Missing('runtime.install', `${set} is not installed`)
      return runScript(run)
    },
    async install(work) {
      work.starting()
      await pretendToInstall(work)
      installed.add(work.dependencies.join())
      return { digest: null, bytes: 1, already_there: false, took_ms: 1 }
    },
    check: () =>
      Promise.resolve({
        runtime_id: 'python3.0.0',
        findings: [{ what: 'interpreter', ok: true, detail: 'python3.0.0, which runs nothing' }],
      }),
    close: () => Promise.resolve(),
  }
}

async function pretendToInstall({
  dependencies,
  assignment,
  signal,
  progress,
  log,
}: Parameters<NonNullable<Backend['install']>>[0]): Promise<void> {
  for (const one of dependencies) {
    log('info', `installing ${one}`)
    progress({ phase: 'installing', bytes_done: 1, bytes_total: null, percent: null, bytes_per_sec: null })
    await pause(Number(/^sleep-(\d+)/.exec(one)?.[1] ?? 0), signal)
    if (one.startsWith('gate-')) await opened(join(process.env['ERRAND_FAKE_GATES']!, one), signal)
    signal.throwIfAborted()
    if (one === 'fail' || (one === 'fail-once' && assignment.attempt === 0)) throw new Error('it failed')
    if (one === 'refuse') throw new Rejected('it is refused')
  }
}

async function runScript(run: Run): Promise<RunEnd> {
  const { prepare_ms, reject, steps } = script.parse(JSON.parse(run.submission.code ?? ''))
  if (reject !== undefined) throw new Rejected(reject)
  await pause(prepare_ms, run.signal)
  return runSteps(run, steps)
}

/** `Backend.adopt` of a fake whose programs do the same whoever looks on: all of it is told once more. */
export function adoptFake(run: AdoptedRun): Promise<RunEnd> {
  return runSteps(run, (run.kept as { steps: Step[] }).steps)
}

async function runSteps(run: Run | AdoptedRun, steps: readonly Step[]): Promise<RunEnd> {
  run.starting('run', run.assignment.limits.timeout_sec * 1000, { steps })
  let end: Pick<RunEnd, 'exit_code' | 'signal'> = { exit_code: 0, signal: null }
  for (const one of steps) {
    if ('sleep_ms' in one) await pause(one.sleep_ms, run.signal)
    // Room for others, as between the reads of a pipe.
    else await new Promise(setImmediate)
    if (run.signal.aborted) break
    const ended = perform(run, one)
    if (ended) {
      end = ended
      break
    }
  }
  if (run.signal.aborted) end = { exit_code: null, signal: 'SIGKILL' }
  run.exited()
  return {
    ...end,
    phase: 'run',
    killed_for: null,
    out_of_memory: false,
    error: null,
    runtime_id: 'python3.0.0',
    container_id: null,
    usage: null,
    isolation: null,
    compile: null,
  }
}

/** How the program ended by this step; undefined when it goes on. */
function perform(run: Run | AdoptedRun, one: Step): Pick<RunEnd, 'exit_code' | 'signal'> | undefined {
  if ('stdout' in one) run.output('stdout', Buffer.from(one.stdout.repeat(one.times)))
  if ('stderr' in one) run.output('stderr', Buffer.from(one.stderr.repeat(one.times)))
  if ('mark' in one) appendFileSync(one.mark, `${run.assignment.id} ${run.assignment.fence}\n`)
  if ('fail' in one) throw new Error(one.fail)
  if ('exit' in one) return { exit_code: one.exit, signal: null }
  if ('signal' in one) return { exit_code: null, signal: one.signal }
  return undefined
}

async function opened(gate: string, signal: AbortSignal): Promise<void> {
  while (!existsSync(gate) && !signal.aborted) await pause(20, signal)
}

/** Ends early when the run is to end. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {})
}
