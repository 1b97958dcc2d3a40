import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { runtimeName, runtimes } from '@errand/shared'
import type {
  AgentReport,
  AgentStock,
  Assignment,
  BackendReport,
  CheckReport,
  Isolation,
  JobResult,
  LocalhostExecutor,
} from '@errand/shared'
import { runWithSet } from '../../packages/install-steps.ts'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import { rememberRuntimes } from '../../runtimes/remember-runtimes.ts'
import type { RuntimeLookup } from '../../runtimes/remember-runtimes.ts'
import { Rejected } from '../backend.ts'
import type { Backend, BackendParts, Check, Maintenance, Run, RunEnd } from '../backend.ts'
import { environmentAt } from '../box/environment.ts'
import { startLocalBox } from '../box/local-box.ts'
import type { LocalBox } from '../box/local-box.ts'
import { programPhases } from '../box/program-phases.ts'
import { runInBox } from '../box/run-in-box.ts'
import { DependencySets } from '../sets/dependency-sets.ts'
import type { Filling } from '../sets/dependency-sets.ts'
import { linkingOptions } from '../sets/linker.ts'
import { neededSet } from '../sets/needed-set.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import { checkHost } from './check-host.ts'
import { disksOf } from './disks-of.ts'
import { HostSets } from './host-sets.ts'
import { makePlaces, placesOf, removeLeftovers, removePlaces, workDirName } from './places.ts'
import type { Places } from './places.ts'
import { probeSandbox } from './probe-sandbox.ts'
import { killAll, markedBy, ofUid } from './processes.ts'
import type { Predicate } from './processes.ts'
import { refuseSharedRoot, refuseUnkeptLimits } from './refusals.ts'
import { runTool } from '../run-tool.ts'
import { closedFolders, interpreterOptions, sandboxHome, sandboxOptions, sandboxed } from './sandbox.ts'
import { takeSlotUids } from './slot-uids.ts'
import type { SlotUids } from './slot-uids.ts'
import { removeWorkDir } from './work-dir.ts'

/**
 * Runs code on the agent's own host: in bubblewrap, or as it is where executor and policy say `sandbox: none`. A root
 * agent runs each slot's code under a uid of its own; any other agent has only its own uid to run it under.
 */
export function createLocalhost(parts: BackendParts, { bwrap = '/usr/bin/bwrap' } = {}): Backend {
  return new Localhost(parts, bwrap)
}

/** The variables that tell an agent's unsandboxed processes from others where they have no uid of their own. */
const agentMark = 'ERRAND_AGENT'
const slotMark = 'ERRAND_SLOT'

class Localhost implements Backend {
  readonly type = 'localhost'
  readonly #parts: BackendParts
  readonly #bwrap: string
  readonly #places: Places
  /** Of a root agent: one for each slot, one for each that installs and, last, one to ask tools for their versions. */
  readonly #uids: SlotUids | undefined
  readonly #options: string[]
  readonly #closed: string[]
  /** One for each slot, once it was used. */
  readonly #boxes = new Map<number, LocalBox>()
  readonly #runtimes: Record<'plain' | 'sandboxed', RuntimeLookup>
  readonly #sets: DependencySets
  readonly #hostSets: HostSets
  #fault: Promise<string | undefined> | undefined

  constructor(parts: BackendParts, bwrap: string) {
    const asRoot = process.getuid?.() === 0
    this.#parts = parts
    this.#bwrap = bwrap
    this.#places = placesOf(parts.agentDir, asRoot)
    const uids = parts.slots + parts.maintenanceSlots + 1
    this.#uids = asRoot ? takeSlotUids(uids, join(this.#places.private, 'uids.json')) : undefined
    this.#options = sandboxOptions(this.#places.etc)
    this.#closed = closedFolders(parts.agentDir)
    this.#runtimes = {
      plain: rememberRuntimes((tool, args) => this.#ask([tool, ...args])),
      sandboxed: rememberRuntimes((tool, args) =>
        this.#ask([bwrap, ...this.#options, ...interpreterOptions(tool, this.#closed), '--', tool, ...args]),
      ),
    }
    this.#sets = new DependencySets(parts, join(this.#places.private, 'sets.json'))
    this.#hostSets = new HostSets({
      places: this.#places,
      policy: parts.policy,
      uidOf: (slot) => this.#uids?.uids[this.#installing(slot)],
      mark: (slot) => this.#mark(this.#installing(slot)),
      killLeft: (slot) => killAll(this.#ranIn(this.#installing(slot))),
      wrapperFor: (filling, set, work, binds) => this.#installWrapper(filling, set, work, binds),
    })
  }

  async recover(): Promise<void> {
    await killAll(this.#uids ? ofUid(...this.#uids.uids) : markedBy(agentMark, this.#places.mark))
    await removeLeftovers(this.#places, this.#parts.policy.work_dirs)
    makePlaces(this.#places)
    await this.#hostSets.recover(this.#sets)
  }

  async probe(): Promise<BackendReport> {
    const fault = await this.#probeSandbox()
    if (fault === undefined) return { available: true, isolation: this.#isolation(true), missing: [] }
    // Available all the same: each run looks anew and is rejected in words, where it would wait for ever.
    return { available: true, isolation: null, missing: [fault] }
  }

  async runtimes(): Promise<AgentReport['runtimes']> {
    const lookup = this.#runtimes[(await this.#sandboxFault()) === undefined ? 'sandboxed' : 'plain']
    const found = await Promise.all(
      runtimeName.options.map(async (name) => [name, (await lookup(name))?.version] as const),
    )
    return Object.fromEntries(found.filter(([, version]) => version !== undefined))
  }

  async run(run: Run): Promise<RunEnd> {
    const { assignment, dependencies } = run
    const admitted = await this.#admit(assignment)
    if (dependencies.length === 0) return this.#run(run, admitted)
    const set = neededSet(assignment, dependencies, admitted.found)
    const { at, end } = await this.#sets.use(set, this.#hostSets)
    try {
      return await this.#run(run, admitted, { ...set, dir: at })
    } finally {
      end()
    }
  }

  async install(work: Maintenance & { dependencies: readonly string[] }): Promise<JobResult> {
    const { found } = await this.#admit(work.assignment)
    const set = neededSet(work.assignment, work.dependencies, found)
    return this.#sets.install(set, this.#hostSets, work)
  }

  async stock(): Promise<Partial<AgentStock>> {
    return {
      disk: await disksOf([this.#parts.agentDir, this.#places.sets]),
      sets: this.#sets.stock(),
    }
  }

  async #run(run: Run, admitted: Admitted, set?: NeededSet & { dir: string }): Promise<RunEnd> {
    const { assignment, submission, slot } = run
    const { settings, inSandbox } = admitted
    const withSet = set && runWithSet(set)
    const found = { ...admitted.found, ...(withSet?.interpreter && { interpreter: withSet.interpreter }) }
    const uid = this.#uids?.uids[slot]
    const work = join(settings.work_dir ?? this.#places.work, workDirName(this.#places, assignment))
    const tmp = inSandbox ? undefined : `${work}-tmp`
    const program = programOf(submission, runtimes[assignment.runtime])
    const seen = inSandbox ? { home: sandboxHome, tmp: '/tmp' } : { home: work, tmp: `${work}-tmp` }
    const mark = inSandbox || uid !== undefined ? {} : this.#mark(slot)
    const phases = programPhases({
      run,
      found,
      program,
      env: { ...environmentAt({ interpreter: found.interpreter, ...seen }), ...withSet?.env, ...mark },
      options: set && !inSandbox ? linkingOptions(set.dir, set) : [],
      wrapper: inSandbox ? this.#wrapper(admitted.found, work, set ? bindsOf(set) : []) : undefined,
    })
    const remove = (): Promise<void> => this.#remove(run, () => removeWorkDir({ work, tmp }, program))
    const box = this.#boxOf(slot)
    try {
      const ended = await runInBox(run, box, {
        workDir: { path: work, make: true },
        tmpDir: tmp,
        user: uid === undefined ? undefined : { uid, gid: uid },
        files: program.files,
        stdin: submission.stdin,
        phases,
      })
      return {
        ...ended,
        error: null,
        runtime_id: found.id,
        container_id: null,
        isolation: this.#isolation(inSandbox),
        gone: remove(),
      }
    } catch (error) {
      if (!box.alive) await killAll(this.#ranIn(slot))
      await remove()
      throw error
    }
  }

  async check(asked: Check): Promise<CheckReport> {
    const { sandbox, work_dir } = asked.executor.settings as LocalhostExecutor
    const inSandbox = sandbox !== 'none'
    return checkHost(asked, {
      lookup: this.#runtimes[inSandbox ? 'sandboxed' : 'plain'],
      fault: inSandbox ? await this.#sandboxFault() : undefined,
      workRoot: work_dir ?? this.#places.work,
    })
  }

  tidy(): Promise<void> {
    return this.#sets.makeRoom(this.#hostSets)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#boxes.values()].map((box) => box.close()))
    this.#sets.close()
    this.#uids?.release()
    if (this.#uids) await removePlaces(this.#places)
  }

  /** Everything that can be refused before anything is made. */
  async #admit(assignment: Assignment): Promise<Admitted> {
    const settings = assignment.executor.settings as LocalhostExecutor
    refuseUnkeptLimits(assignment)
    if (settings.work_dir !== undefined) refuseSharedRoot(settings.work_dir)
    // `preferred` may lose control groups and seccomp, never what bubblewrap gives.
    const inSandbox = settings.sandbox !== 'none'
    const fault = inSandbox ? await this.#sandboxFault() : undefined
    if (fault !== undefined) throw new Rejected(fault)
    const { runtime } = assignment
    const interpreter = settings.runtime === runtime ? settings.code_executor_path : undefined
    const found = await this.#runtimes[inSandbox ? 'sandboxed' : 'plain'](runtime, interpreter)
    if (!found)
      throw new Error(`no interpreter for ${runtime}: looked for ${describeSearch(runtime, interpreter)}`)
    return { settings, inSandbox, found }
  }

  #boxOf(slot: number): LocalBox {
    const known = this.#boxes.get(slot)
    if (known?.alive) return known
    const started = startLocalBox()
    this.#boxes.set(slot, started)
    return started
  }

  /** What a box that was killed has left: all but a sandbox, which dies with it. */
  #ranIn(slot: number): Predicate {
    if (this.#uids) return ofUid(this.#uids.uids[slot]!)
    const [ofAgent, ofSlot] = [markedBy(agentMark, this.#places.mark), markedBy(slotMark, String(slot))]
    return (pid) => ofAgent(pid) && ofSlot(pid)
  }

  #wrapper({ interpreter, launcher }: Tools, work: string, binds: readonly string[]): string[] {
    const tools = [interpreter, launcher].filter((tool) => tool !== undefined)
    const shown = tools.flatMap((tool) => interpreterOptions(tool, this.#closed))
    return sandboxed(this.#bwrap, [...this.#options, ...shown, ...binds], work)
  }

  /** Where there is no sandbox, executors that want none do without one here too. */
  async #installWrapper(
    { assignment }: Filling,
    { interpreter }: NeededSet,
    work: string,
    binds: readonly string[],
  ): Promise<string[] | undefined> {
    const fault = await this.#sandboxFault()
    if (fault === undefined) return this.#wrapper({ interpreter, launcher: undefined }, work, binds)
    if ((assignment.executor.settings as LocalhostExecutor).sandbox === 'none') return undefined
    throw new Rejected(fault)
  }

  /** After the slots of runs come those of installations, whose uids and marks are never the same. */
  #installing(slot: number): number {
    return this.#parts.slots + slot
  }

  #mark(slot: number): Record<string, string> {
    return { [agentMark]: this.#places.mark, [slotMark]: String(slot) }
  }

  /** Undefined while sandboxes work; a fault is looked at anew by each run, as it may have been mended. */
  async #sandboxFault(): Promise<string | undefined> {
    const gone = !existsSync(this.#bwrap)
    if (!gone && this.#fault && (await this.#fault) === undefined) return undefined
    return this.#probeSandbox()
  }

  #probeSandbox(): Promise<string | undefined> {
    this.#fault = probeSandbox({ bwrap: this.#bwrap, options: this.#options, uid: this.#uids?.uids.at(-1) })
    return this.#fault
  }

  /** What a tool prints, run as user code would be. */
  #ask([tool, ...args]: [string, ...string[]]): Promise<string | undefined> {
    return runTool(tool, args, { uid: this.#uids?.uids.at(-1) }).catch(() => undefined)
  }

  /** What can't be removed is tried again at the next start; how the program ended stands. */
  async #remove({ assignment: { id, fence } }: Run, remove: () => Promise<void>): Promise<void> {
    try {
      await remove()
    } catch (err) {
      this.#parts.log.error({ execution_id: id, fence, err }, 'cannot remove the directory of an execution')
    }
  }

  #isolation(inSandbox: boolean): Isolation {
    return {
      sandbox: inSandbox ? 'bubblewrap' : 'none',
      own_uid: this.#uids !== undefined,
      mount_namespace: inSandbox,
      pid_namespace: inSandbox,
      network: inSandbox ? 'none' : 'host',
      cgroup: false,
      seccomp: false,
    }
  }
}

interface Admitted {
  settings: LocalhostExecutor
  inSandbox: boolean
  found: FoundRuntime
}

type Tools = Pick<FoundRuntime, 'interpreter' | 'launcher'>

/**
 * Packages for Node appear in a folder above the program's: by a link, which is followed inside. What is bound is looked for
 * outside, where a package may have put a link in its place that leads anywhere.
 */
function bindsOf(set: NeededSet & { dir: string }): string[] {
  const { nodeModules } = runWithSet(set)
  return [
    ['--ro-bind', set.dir, set.dir],
    nodeModules === undefined ? [] : ['--symlink', nodeModules, '/node_modules'],
  ].flat()
}
