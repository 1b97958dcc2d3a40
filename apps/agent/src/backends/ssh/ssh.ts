import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { runtimes } from '@errand/shared'
import type {
  AgentStock,
  Assignment,
  BackendReport,
  CheckReport,
  Isolation,
  JobResult,
  RuntimeName,
  SshExecutor,
} from '@errand/shared'
import { encodeBundle } from '@errand/box'
import type { BundlePhase } from '@errand/box'
import { runWithSet } from '../../packages/install-steps.ts'
import { describeSearch, searchPath } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import type { Log } from '../../log.ts'
import type { AdoptedRun, Backend, BackendParts, Check, Maintenance, Run, RunEnd } from '../backend.ts'
import { askInBox } from '../box/ask-in-box.ts'
import type { Answer } from '../box/ask-in-box.ts'
import { environmentAt } from '../box/environment.ts'
import { findInBox } from '../box/find-in-box.ts'
import type { Commands } from '../box/find-in-box.ts'
import { phaseLimits, programPhases } from '../box/program-phases.ts'
import { adoptInBox, runInBox } from '../box/run-in-box.ts'
import type { BoxedEnd, PhaseLimit } from '../box/run-in-box.ts'
import { DependencySets } from '../sets/dependency-sets.ts'
import { linkingOptions } from '../sets/linker.ts'
import { neededSet } from '../sets/needed-set.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import { checkTarget } from './check-target.ts'
import { presentedKeys } from './connect.ts'
import { orAborted } from '../or-aborted.ts'
import { refuseUnkeptLimits } from './refusals.ts'
import { RemoteBox, collectMs } from './remote-box.ts'
import { RemoteSets, refuseFolderIndex } from './remote-sets.ts'
import type { OpenBox } from './remote-sets.ts'
import { ownBoxFor } from './own-box.ts'
import type { FindBox, Marks } from './prepare-target.ts'
import { RemoteTarget } from './remote-target.ts'
import { encodeForShell } from './shell-bundle.ts'
import { describeTarget, targetKey, targetOf } from './target.ts'

export interface SshChoices {
  random?: () => number
  idleMs?: number
  /** The box for a machine type of `uname -m`. */
  findBox?: FindBox
}

/** Runs code on other systems, as the user that an executor logs in as. */
export function createSsh(
  parts: SshParts,
  { random = Math.random, idleMs = 60_000, findBox = ownBoxFor }: SshChoices = {},
): Backend {
  return new Ssh(parts, random, idleMs, findBox)
}

type SshParts = Pick<BackendParts, 'agentDir' | 'spoolId' | 'policy' | 'now' | 'stockChanged' | 'log'>

class Ssh implements Backend {
  readonly type = 'ssh'
  readonly #marks: Marks
  readonly #log: Log
  readonly #now: () => number
  readonly #random: () => number
  readonly #idleMs: number
  readonly #findBox: FindBox
  readonly #targets = new Map<string, KnownTarget>()
  /** By the account that runs are under there. */
  readonly #accounts = new Map<string, Account>()
  /** Names of the runs that an earlier process began and this one goes on with, wherever: a target has many addresses. */
  readonly #adopted = new Set<string>()
  readonly #sets: DependencySets

  constructor(parts: SshParts, random: () => number, idleMs: number, findBox: FindBox) {
    this.#marks = {
      agent: createHash('sha256').update(parts.spoolId).digest('hex').slice(0, 12),
      session: randomBytes(4).toString('hex'),
    }
    this.#log = parts.log
    this.#now = parts.now
    this.#sets = new DependencySets(parts, join(parts.agentDir, 'ssh', 'sets.json'))
    this.#random = random
    this.#idleMs = idleMs
    this.#findBox = findBox
  }

  probe(): Promise<BackendReport> {
    return Promise.resolve({ available: true, isolation, missing: [] })
  }

  runtimes(): Promise<Partial<Record<RuntimeName, string>>> {
    return Promise.resolve({})
  }

  /** Where a dead agent left something is not known before an executor names the target: it is swept at each connect. */
  recover(): Promise<void> {
    return Promise.resolve()
  }

  async run(run: Run): Promise<RunEnd> {
    const { assignment, dependencies, signal } = run
    refuseUnkeptLimits(assignment, 'box')
    const { known, found } = await this.#found(assignment, signal)
    const { withoutBox } = await orAborted(known.remote.place(), signal)
    const helper = withoutBox === undefined ? 'box' : 'shell'
    refuseUnkeptLimits(assignment, helper)
    if (dependencies.length === 0) return this.#run(run, known, found, helper)
    const set = neededSet(assignment, dependencies, found)
    const { at, end } = await orAborted(this.#sets.use(set, this.#setsOf(known)), signal, (late) =>
      late.end(),
    )
    try {
      return await this.#run(run, known, found, helper, { ...set, dir: at })
    } finally {
      end()
    }
  }

  async #run(
    run: Run,
    known: KnownTarget,
    host: FoundRuntime,
    helper: 'box' | 'shell',
    set?: NeededSet & { dir: string },
  ): Promise<RunEnd> {
    const { assignment, submission, signal } = run
    const { id, fence, executor, runtime } = assignment
    const settings = executor.settings as SshExecutor
    const withSet = set && runWithSet(set)
    const found = { ...host, ...(withSet?.interpreter && { interpreter: withSet.interpreter }) }
    const program = programOf(submission, runtimes[runtime])
    const phases = (work: string): BundlePhase[] =>
      programPhases({
        run,
        found,
        program,
        env: {
          ...environmentAt({ interpreter: found.interpreter, home: work, tmp: tmpBeside(work) }),
          ...withSet?.env,
        },
        options: set ? linkingOptions(set.dir, set) : [],
      })
    const box = await orAborted(this.#box(known.remote, `${id}-${fence}`, phases), signal, (late) =>
      late.connection.release(),
    )
    const kept: KeptSshRun = {
      name: box.name,
      dir: box.dir,
      account: describeTarget(targetOf(settings)),
      helper,
      runtimeId: found.id,
      set: set?.hash,
      endsAtMs: this.#now() + totalMs(phaseLimits(assignment)),
    }
    try {
      const given = { ...box.bundle, files: program.files, stdin: submission.stdin }
      const ended = await runInBox(withRemoteDeadline(run), box.connection, given, kept)
      return endOf(ended, kept, settings, box.connection)
    } catch (error) {
      box.connection.release()
      await box.connection.gone
      // What is there may have changed.
      known.found.clear()
      throw error
    }
  }

  /** The run goes on at its target, and what it says waits there, until the API has told how to get in. */
  async adopt(run: AdoptedRun): Promise<RunEnd> {
    const kept = run.kept as KeptSshRun
    const { name, dir, account, endsAtMs, set } = kept
    const phases = phaseLimits(run.assignment)
    const endUse = set === undefined ? () => {} : this.#sets.useStill(set, account)
    this.#adopted.add(name)
    try {
      const { executor } = await run.assignmentAgain()
      const settings = executor.settings as SshExecutor
      const { remote } = this.#targetOf(settings)
      const connection = new RemoteBox({
        remote,
        start: { lookForMs: Math.max(endsAtMs - this.#now(), leastPatienceMs) },
        name,
        dir,
        phases,
        encode: encodeBundle,
        random: this.#random,
      })
      const ended = await adoptInBox(withRemoteDeadline(run), connection, phases)
      return endOf(ended, kept, settings, connection)
    } catch (error) {
      this.#account(account).abandoned.add(name)
      throw error
    } finally {
      this.#adopted.delete(name)
      endUse()
    }
  }

  check(asked: Check): Promise<CheckReport> {
    const settings = asked.executor.settings as SshExecutor
    const known = this.#targetOf(settings)
    const interpreter = settings.runtime === asked.runtime ? settings.code_executor_path : undefined
    const find = (): Promise<FoundRuntime | undefined> => this.#find(known, asked.runtime, interpreter)
    return checkTarget(asked, { remote: known.remote, find, interpreter })
  }

  async install(work: Maintenance & { dependencies: readonly string[] }): Promise<JobResult> {
    const { known, found } = await this.#found(work.assignment, work.signal)
    const set = neededSet(work.assignment, work.dependencies, found)
    refuseFolderIndex(set)
    return this.#sets.install(set, this.#setsOf(known), work)
  }

  async stock(): Promise<Partial<AgentStock>> {
    return { sets: this.#sets.stock() }
  }

  /** Only where there are connections; elsewhere the next one comes with a use. */
  async tidy(): Promise<void> {
    await Promise.all([...this.#targets.values()].map((known) => this.#sets.makeRoom(this.#setsOf(known))))
  }

  async hostKeys(target: { host: string; port: number; signal: AbortSignal }): Promise<string[]> {
    const keys = await orAborted(presentedKeys(target), target.signal)
    return keys.map(({ line }) => line)
  }

  close(): Promise<void> {
    for (const { remote } of this.#targets.values()) remote.close()
    this.#sets.close()
    return Promise.resolve()
  }

  #targetOf(settings: SshExecutor): KnownTarget {
    const target = targetOf(settings)
    const key = targetKey(target)
    const known = this.#targets.get(key)
    if (known) return known
    const account = this.#account(describeTarget(target))
    const remote: RemoteTarget = new RemoteTarget({
      target,
      ...account,
      adopted: this.#adopted,
      marks: this.#marks,
      random: this.#random,
      log: this.#log,
      idleMs: this.#idleMs,
      findBox: this.#findBox,
      // Its secrets with it.
      forget: () => {
        if (this.#targets.get(key)?.remote === remote) this.#targets.delete(key)
      },
    })
    const made = {
      remote,
      installing: account.installing,
      found: new Map<string, Promise<FoundRuntime | undefined>>(),
    }
    this.#targets.set(key, made)
    return made
  }

  #account(name: string): Account {
    const known = this.#accounts.get(name)
    if (known) return known
    const made = { abandoned: new Set<string>(), installing: new Set<string>() }
    this.#accounts.set(name, made)
    return made
  }

  #setsOf({ remote, installing }: KnownTarget): RemoteSets {
    return new RemoteSets({
      remote,
      agent: this.#marks.agent,
      installing,
      openBox: (run, phasesIn) => this.#box(remote, run, phasesIn),
    })
  }

  /** @throws where there is no interpreter */
  async #found(
    { executor, runtime }: Assignment,
    signal: AbortSignal,
  ): Promise<{ known: KnownTarget; found: FoundRuntime }> {
    const settings = executor.settings as SshExecutor
    const known = this.#targetOf(settings)
    const interpreter = settings.runtime === runtime ? settings.code_executor_path : undefined
    const found = await orAborted(this.#find(known, runtime, interpreter), signal)
    if (found) return { known, found }
    throw new Error(
      `no interpreter for ${runtime} on ${known.remote.description}: looked for ${describeSearch(runtime, interpreter)}`,
    )
  }

  async #find(
    { remote, found: known }: KnownTarget,
    name: RuntimeName,
    interpreter: string | undefined,
  ): Promise<FoundRuntime | undefined> {
    const key = JSON.stringify([name, interpreter])
    const finding =
      known.get(key) ?? findInBox(name, interpreter, searchPath, (commands) => this.#ask(remote, commands))
    known.set(key, finding)
    try {
      const found = await finding
      if (!found) known.delete(key)
      return found
    } catch (error) {
      known.delete(key)
      throw error
    }
  }

  async #ask(remote: RemoteTarget, commands: Commands): Promise<Answer[]> {
    const { connection, bundle } = await this.#box(remote, `question-${crypto.randomUUID()}`, (work) =>
      commands.map((argv) => ({
        kind: 'question',
        argv,
        env: environmentAt({ interpreter: argv[0]!, home: work, tmp: tmpBeside(work) }),
        limitMs: 10_000,
        capBytes: 4_096,
        killAtCap: false,
        goOn: true,
      })),
    )
    try {
      return await askInBox(connection, { ...bundle, files: [], stdin: '' })
    } finally {
      await connection.gone
    }
  }

  /** A box that waits on the target, with directories for one run. */
  async #box(
    remote: RemoteTarget,
    run: string,
    phasesIn: (work: string) => readonly BundlePhase[],
  ): Promise<OpenBox & { name: string; dir: string }> {
    const { runs, withoutBox } = await remote.place()
    const name = remote.nameFor(run)
    const dir = `${runs}/${name}`
    const work = `${dir}/work`
    const phases = phasesIn(work)
    const station = await remote.station()
    const connection = new RemoteBox({
      remote,
      start: { station },
      name,
      dir,
      phases,
      encode: withoutBox === undefined ? encodeBundle : encodeForShell,
      random: this.#random,
    })
    return {
      connection,
      name,
      dir,
      bundle: { workDir: { path: work, make: true }, tmpDir: tmpBeside(work), phases },
    }
  }
}

/** Names of runs of which something may be left under it, and of installations that are under way. */
interface Account {
  abandoned: Set<string>
  installing: Set<string>
}

interface KnownTarget {
  remote: RemoteTarget
  /** Names of installations under way on its account. */
  installing: Set<string>
  found: Map<string, Promise<FoundRuntime | undefined>>
}

/** What stands between a program and its target: nothing but the login user's rights. */
const isolation: Isolation = {
  sandbox: 'remote',
  own_uid: false,
  mount_namespace: false,
  pid_namespace: false,
  network: 'host',
  cgroup: false,
  seccomp: false,
}

function tmpBeside(work: string): string {
  return work.replace(/work$/, 'tmp')
}

/**
 * The box there holds the time limits, whether we reach it or not; the runner's are behind them, after the time for
 * which a run whose link is lost may be collected, and that for its output to come over a slow one.
 */
function withRemoteDeadline<Given extends Run | AdoptedRun>(run: Given): Given {
  const { assignment } = run
  const phases = phaseLimits(assignment)
  const outputMs = (assignment.limits.output_limit_kb / slowKbPerSec) * 1_000
  return {
    ...run,
    starting(phase, limitMs, kept) {
      const later = phases.slice(phases.findIndex(({ kind }) => kind === phase) + 1)
      run.starting(phase, limitMs + totalMs(later) + collectMs + 1_000 + outputMs, kept)
    },
  }
}

function totalMs(phases: readonly PhaseLimit[]): number {
  return phases.reduce((sum, { limitMs }) => sum + limitMs, 0)
}

const slowKbPerSec = 64

/** Where a run that has ended by its own time limit is looked for all the same: its agent was away. */
const leastPatienceMs = 20_000

/** What it takes to go on with a run, beside the way to its target. */
interface KeptSshRun {
  /** Of its directory there, which is `dir`. */
  name: string
  dir: string
  /** Where `name` is to be swept when it can't be gone on with. */
  account: string
  helper: 'box' | 'shell'
  runtimeId: string
  /** The hash of its dependency set. */
  set: string | undefined
  /** By its time limits; Unix milliseconds of the API's clock. */
  endsAtMs: number
}

function endOf(
  ended: BoxedEnd,
  { helper, runtimeId }: Pick<KeptSshRun, 'helper' | 'runtimeId'>,
  { host }: SshExecutor,
  { gone }: Pick<RemoteBox, 'gone'>,
): RunEnd {
  return {
    ...ended,
    // Nobody there counts.
    ...(helper === 'shell' && { usage: { cpu_time_sec: null, peak_memory_mb: null } }),
    error: null,
    runtime_id: runtimeId,
    container_id: null,
    isolation: helper === 'box' ? isolation : { ...isolation, sandbox: 'remote_shell' },
    hostname: host,
    gone,
  }
}
