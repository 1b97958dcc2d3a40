import type {
  AgentPolicy,
  AgentReport,
  AgentStock,
  AssignedExecutor,
  Assignment,
  BackendReport,
  CheckReport,
  ExecutorType,
  JobLogLine,
  JobProgress,
  JobResult,
  KeptAssignment,
  MaintenanceType,
  Phase,
  RunResult,
  Stream,
  Submission,
  TimeConstants,
} from '@errand/shared'
import type { Claim } from '../claim.ts'
import type { Log } from '../log.ts'

/** What a backend is made of: `createLocalhost(parts): Backend`. */
export interface BackendParts {
  /** Absolute, 0700, locked by this process. A backend keeps what it needs below `agentDir/<its type>`. */
  agentDir: string
  /** Random, kept with the spool: marks this agent's processes and directories, also after a crash. */
  spoolId: string
  /** How many runs there may be at once, with those that are still being cleared away; `run.slot` is below it. */
  slots: number
  /** The same of maintenance jobs. */
  maintenanceSlots: number
  /** What `stock` tells has changed. */
  stockChanged: () => void
  /** The API's clock, Unix milliseconds. */
  now: () => number
  policy: AgentPolicy
  time: TimeConstants
  log: Log
}

/** The part of the agent that runs code, for one executor type. */
export interface Backend {
  readonly type: ExecutorType
  /** What it can do right now, in words what it lacks. Called at each connect, which waits for it: `handshakeMs` at most. */
  probe(): Promise<BackendReport>
  /** The runtimes of this host with versions, asked once at start; a backend that runs code elsewhere has none. */
  runtimes(): Promise<AgentReport['runtimes']>
  /**
   * At start, before anything runs: ends and removes what a dead agent of the same `spoolId` or directory left, but for
   * the runs that `adopt` is going to be called for.
   */
  recover(adopted: readonly Claim[]): Promise<void>
  /**
   * Runs one job and leaves nothing behind: it settles once the program and its descendants are gone, and `gone` once
   * its files are.
   * The policy was checked before. How the program ended is returned; what it refuses is thrown as `Rejected`,
   * what `run.starting` throws goes through, what can't be known any more is `Lost`, and anything else that is thrown is
   * our own failure (`infra_error`).
   */
  run(run: Run): Promise<RunEnd>
  /**
   * Goes on with a run that an agent of this directory had started and died: settles and throws as `run` does. All is told
   * once more from its beginning: `starting`, `exited`, and every byte of output. Absent where programs die with their agent.
   *
   * @throws {Lost} when nothing proves how it ended; {NotStarted} when it is certain that no program has begun
   */
  adopt?(run: AdoptedRun): Promise<RunEnd>
  /**
   * Whether code would run on this executor now (`POST /executors/{name}/check`): connects, looks for interpreter,
   * image, the limits it can keep and free disk, and says in words what works and what to do about the rest. Runs no
   * user code, takes no slot, leaves nothing behind. The policy was checked before. It returns what it found so far when
   * `signal` is aborted; what it throws is reported as our own failure.
   */
  check(asked: Check): Promise<CheckReport>
  /**
   * ssh: the public key lines of every host key that the target presents now, without authenticating.
   *
   * @throws in words for people, when it can't be reached
   */
  hostKeys?(target: { host: string; port: number; signal: AbortSignal }): Promise<string[]>
  /**
   * docker: brings the executor's image to the Engine (`docker_image.download`).
   *
   * @throws {Rejected} what would fail again: no such image, credentials refused, no room; anything else may be tried again
   */
  download?(work: Maintenance): Promise<JobResult>
  /**
   * Installs a dependency set where this executor's code runs (`runtime.install`). Whoever finds it there is done.
   *
   * @throws {Rejected} what would fail again; {Missing} the image that it is for; anything else may be tried again
   */
  install?(work: Maintenance & { dependencies: readonly string[] }): Promise<JobResult>
  /** What lies on this host, its Engine or targets because of Errand, most recently used first. Never rejects. */
  stock?(): Promise<Partial<AgentStock>>
  /** Every `tidyEveryMs`: removes what was brought and is too old. What can't be removed now is tried the next time. */
  tidy?(): Promise<void>
  /** After the last run. */
  close(): Promise<void>
}

/** A maintenance job under way, as the backend sees it. */
export interface Maintenance {
  readonly assignment: Assignment
  /** 0 up to `maintenance - 1`; no two of these at the same time have the same. */
  readonly slot: number
  /** As `Run.signal`: what is under way ends at once, and nothing half done is left to be taken for whole. */
  readonly signal: AbortSignal
  /** To be called once, before anything is fetched; begins the time limit. Throws as `Run.starting` does. */
  readonly starting: () => void
  /** As often as there is news: it is told at most every half second. */
  readonly progress: (progress: JobProgress) => void
  /** A line of the job's log. */
  readonly log: (level: JobLogLine['level'], message: string) => void
}

/** What is asked of `check`: as much of an assignment as there is without a job. */
export interface Check extends AssignedExecutor {
  readonly signal: AbortSignal
}

/** Why we end a run; the first reason stands. It is the `reason` of `run.signal`. */
export type StopReason = 'canceled' | 'timed_out' | 'output_limit' | 'lease_lost' | 'shutdown'

/** One run of a job, as the backend sees it. Deadlines, the output cap and the outcome are the runner's business. */
export interface Run extends RunEvents {
  readonly assignment: Assignment
  readonly submission: Submission
  /** Of this run, normalised; empty where there are none. */
  readonly dependencies: readonly string[]
  /** 0 up to `slots - 1`; no two runs at the same time have the same. */
  readonly slot: number
}

/** A run whose agent died. Its slot is the one that it had. */
export interface AdoptedRun extends RunEvents {
  readonly assignment: KeptAssignment
  /** What the backend had given to `starting`. */
  readonly kept: unknown
  /**
   * Asks the API again for what is not kept, secrets among it. Waits for the answer however long the API is away.
   *
   * @throws {Lost} when there is none: it is another's by now, or the agent is stopped
   */
  assignmentAgain(): Promise<Assignment>
}

/** What goes on between the runner and a run under way. */
export interface RunEvents {
  /**
   * Aborted at most once, with a `StopReason`. The backend then kills the whole tree at once, calls `exited` and
   * returns as ever. It may be aborted before `starting` too, which then throws.
   */
  readonly signal: AbortSignal
  /**
   * To be called immediately before each phase's process may start, from here or elsewhere. Spools `starting`, begins
   * the phase's time limit (`limitMs`: the compiler's own, or `limits.timeout_sec`). To be called again for the same
   * phase when it is known to start only now: then its time begins anew.
   * `kept` of the first call is spooled with it where the backend can adopt: what that takes, as JSON, and no secret.
   *
   * @throws {NotStarted} when it must not start: stopped, lease run out, spool can't write. Clean up, let it through.
   */
  starting(phase: Phase, limitMs: number, kept?: object): void
  /**
   * To be called as soon as the phase's main process has ended, before its pipes are drained. From here on neither
   * time limit nor cancel count. `tookMs` is how long it ran, where that was measured beside it.
   */
  exited(tookMs?: number): void
  /**
   * Bytes that the program wrote, in order for each stream (the compiler's go to `compile`, not here). They are kept:
   * don't write to the buffer afterwards. All output must have been handed over before `run` settles. Read on as
   * fast as the program writes: what the API has not taken waits on disk, up to the cap. (A program that we slowed
   * because the API or its database is away would meet its time limit through our fault.)
   */
  output(stream: Stream, bytes: Uint8Array): void
  /** How many bytes the program has written so far, where those beyond the cap are not handed over. */
  counted(stream: Stream, bytes: number): void
}

/**
 * How the program ended. The runner adds outcome, totals, times and host name. `phase` is the last that started: after
 * a compile step that failed it is `compile`. `killed_for` says that the main program was ended by a limit's own means
 * and not through `run.signal`: for its memory (then `out_of_memory` too, which also tells of a killed child), its
 * cpu time, its output, or its time while nobody could say so.
 */
export interface RunEnd extends Pick<
  RunResult,
  | 'exit_code'
  | 'signal'
  | 'out_of_memory'
  | 'error'
  | 'runtime_id'
  | 'container_id'
  | 'usage'
  | 'isolation'
  | 'compile'
> {
  phase: Phase
  /**
   * Settles, and never rejects, when its files are gone too: however many it made, its result does not wait for that.
   * Absent where nothing was left.
   */
  gone?: Promise<void>
  killed_for: 'memory' | 'cpu_time' | 'wall_time' | 'output_limit' | null
  /** Where the code ran, when it was not this host. */
  hostname?: string
}

/** Refused by policy, isolation or a missing runtime; the message is for the caller. */
export class Rejected extends Error {
  override readonly name = 'Rejected'
}

/** What it needs is not here, and a maintenance job would bring it: nothing was started. The message says what is missing. */
export class Missing extends Error {
  override readonly name = 'Missing'
  readonly need: MaintenanceType

  constructor(need: MaintenanceType, message: string) {
    super(message)
    this.need = need
  }
}

/** It may have run, and how it ended can't be known any more; the message says why. */
export class Lost extends Error {
  override readonly name = 'Lost'
}

/** Thrown by `Run.starting`: the program must not start. */
export class NotStarted extends Error {
  override readonly name = 'NotStarted'
}
