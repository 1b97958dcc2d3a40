import { createHash, randomBytes } from 'node:crypto'
import { runtimes } from '@errand/shared'
import type { BackendReport, CheckReport, Isolation, RuntimeName, SshExecutor } from '@errand/shared'
import { encodeBundle } from '@errand/box'
import type { Bundle, BundlePhase } from '@errand/box'
import { describeSearch, searchPath } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import type { Log } from '../../log.ts'
import type { Backend, BackendParts, Check, Run, RunEnd } from '../backend.ts'
import { askInBox } from '../box/ask-in-box.ts'
import type { Answer } from '../box/ask-in-box.ts'
import { environmentAt } from '../box/environment.ts'
import { findInBox } from '../box/find-in-box.ts'
import type { Commands } from '../box/find-in-box.ts'
import { programPhases } from '../box/program-phases.ts'
import { runInBox } from '../box/run-in-box.ts'
import { checkTarget } from './check-target.ts'
import { presentedKeys } from './connect.ts'
import { orAborted } from '../or-aborted.ts'
import { refuseUnkeptLimits } from './refusals.ts'
import { RemoteBox, collectMs } from './remote-box.ts'
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
  parts: Pick<BackendParts, 'spoolId' | 'log'>,
  { random = Math.random, idleMs = 60_000, findBox = ownBoxFor }: SshChoices = {},
): Backend {
  return new Ssh(parts, random, idleMs, findBox)
}

class Ssh implements Backend {
  readonly type = 'ssh'
  readonly #marks: Marks
  readonly #log: Log
  readonly #random: () => number
  readonly #idleMs: number
  readonly #findBox: FindBox
  readonly #targets = new Map<string, KnownTarget>()
  /** Runs of which something may be left, by the account that they ran under. */
  readonly #abandoned = new Map<string, Set<string>>()

  constructor(
    { spoolId, log }: Pick<BackendParts, 'spoolId' | 'log'>,
    random: () => number,
    idleMs: number,
    findBox: FindBox,
  ) {
    this.#marks = {
      agent: createHash('sha256').update(spoolId).digest('hex').slice(0, 12),
      session: randomBytes(4).toString('hex'),
    }
    this.#log = log
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
    const { assignment, submission, signal } = run
    refuseUnkeptLimits(assignment, 'box')
    const settings = assignment.executor.settings as SshExecutor
    const { runtime, id, fence } = assignment
    const known = this.#targetOf(settings)
    const interpreter = settings.runtime === runtime ? settings.code_executor_path : undefined
    const found = await orAborted(this.#find(known, runtime, interpreter), signal)
    if (!found)
      throw new Error(
        `no interpreter for ${runtime} on ${known.remote.description}: looked for ${describeSearch(runtime, interpreter)}`,
      )
    const { withoutBox } = await orAborted(known.remote.place(), signal)
    const helper = withoutBox === undefined ? 'box' : 'shell'
    refuseUnkeptLimits(assignment, helper)
    const program = programOf(submission, runtimes[runtime])
    const phases = (work: string): BundlePhase[] =>
      programPhases({
        run,
        found,
        program,
        env: environmentAt({ interpreter: found.interpreter, home: work, tmp: tmpBeside(work) }),
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
        hostname: settings.host,
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

  async hostKeys(target: { host: string; port: number; signal: AbortSignal }): Promise<string[]> {
    const keys = await orAborted(presentedKeys(target), target.signal)
    return keys.map(({ line }) => line)
  }

  close(): Promise<void> {
    for (const { remote } of this.#targets.values()) remote.close()
    return Promise.resolve()
  }

  #targetOf(settings: SshExecutor): KnownTarget {
    const target = targetOf(settings)
    const key = targetKey(target)
    const known = this.#targets.get(key)
    if (known) return known
    const account = describeTarget(target)
    const abandoned = this.#abandoned.get(account) ?? new Set()
    this.#abandoned.set(account, abandoned)
    const remote: RemoteTarget = new RemoteTarget({
      target,
      abandoned,
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
    const made = { remote, found: new Map<string, Promise<FoundRuntime | undefined>>() }
    this.#targets.set(key, made)
    return made
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
    phasesIn: (work: string) => BundlePhase[],
  ): Promise<{ connection: RemoteBox; bundle: Pick<Bundle, 'workDir' | 'tmpDir' | 'phases'> }> {
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
