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
import type { Backend, BackendParts, Check, Maintenance, Run, RunEnd } from '../backend.ts'
import { askInBox } from '../box/ask-in-box.ts'
import type { Answer } from '../box/ask-in-box.ts'
import { environmentAt } from '../box/environment.ts'
import { findInBox } from '../box/find-in-box.ts'
import type { Commands } from '../box/find-in-box.ts'
import { programPhases } from '../box/program-phases.ts'
import { runInBox } from '../box/run-in-box.ts'
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
  readonly #random: () => number
  readonly #idleMs: number
  readonly #findBox: FindBox
  readonly #targets = new Map<string, KnownTarget>()
  /** Runs of which something may be left, and installations under way, by the account that they run under. */
  readonly #accounts = new Map<string, { abandoned: Set<string>; installing: Set<string> }>()
  readonly #sets: DependencySets

  constructor(parts: SshParts, random: () => number, idleMs: number, findBox: FindBox) {
    this.#marks = {
      agent: createHash('sha256').update(parts.spoolId).digest('hex').slice(0, 12),
      session: randomBytes(4).toString('hex'),
    }
    this.#log = parts.log
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
    try {
      const ended = await runInBox(withRemoteDeadline(run, box.bundle.phases), box.connection, {
        ...box.bundle,
        files: program.files,
        stdin: submission.stdin,
      })
      return {
        ...ended,
        // Nobody there counts.
        ...(helper === 'shell' && { usage: { cpu_time_sec: null, peak_memory_mb: null } }),
        error: null,
        runtime_id: found.id,
        container_id: null,
        isolation: helper === 'box' ? isolation : { ...isolation, sandbox: 'remote_shell' },
        hostname: (executor.settings as SshExecutor).host,
        gone: box.connection.gone,
      }
    } catch (error) {
      box.connection.release()
      await box.connection.gone
      // What is there may have changed.
      known.found.clear()
      throw error
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
    const account = describeTarget(target)
    const { abandoned, installing } = this.#accounts.get(account) ?? {
      abandoned: new Set(),
      installing: new Set(),
    }
    this.#accounts.set(account, { abandoned, installing })
    const remote: RemoteTarget = new RemoteTarget({
      target,
      abandoned,
      installing,
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
    const made = { remote, installing, found: new Map<string, Promise<FoundRuntime | undefined>>() }
    this.#targets.set(key, made)
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
  ): Promise<OpenBox> {
    const { runs, withoutBox } = await remote.place()
    const name = remote.nameFor(run)
    const work = `${runs}/${name}/work`
    const phases = phasesIn(work)
    const station = await remote.station()
    const connection = new RemoteBox({
      remote,
      station,
      name,
      dir: `${runs}/${name}`,
      phases,
      encode: withoutBox === undefined ? encodeBundle : encodeForShell,
      random: this.#random,
    })
    return { connection, bundle: { workDir: { path: work, make: true }, tmpDir: tmpBeside(work), phases } }
  }
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
function withRemoteDeadline(run: Run, phases: readonly BundlePhase[]): Run {
  const outputMs = (run.assignment.limits.output_limit_kb / slowKbPerSec) * 1_000
  return {
    ...run,
    starting(phase, limitMs) {
      const at = phases.findIndex(({ kind }) => kind === phase)
      const later = phases.slice(at + 1).reduce((sum, one) => sum + one.limitMs, 0)
      run.starting(phase, limitMs + later + collectMs + 1_000 + outputMs)
    },
  }
}

const slowKbPerSec = 64
