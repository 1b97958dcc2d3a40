import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runtimeName, runtimes } from '@errand/shared'
import type { AgentReport, BackendReport, CheckReport, Isolation, LocalhostExecutor } from '@errand/shared'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import { rememberRuntimes } from '../../runtimes/remember-runtimes.ts'
import type { RuntimeLookup } from '../../runtimes/remember-runtimes.ts'
import { Rejected } from '../backend.ts'
import type { Backend, BackendParts, Check, Run, RunEnd } from '../backend.ts'
import { environmentAt } from '../box/environment.ts'
import { startLocalBox } from '../box/local-box.ts'
import type { LocalBox } from '../box/local-box.ts'
import { programPhases } from '../box/program-phases.ts'
import { runInBox } from '../box/run-in-box.ts'
import { checkHost } from './check-host.ts'
import { makePlaces, placesOf, removeLeftovers, workDirName } from './places.ts'
import type { Places } from './places.ts'
import { probeSandbox } from './probe-sandbox.ts'
import { killAll, markedBy, ofUid } from './processes.ts'
import type { Predicate } from './processes.ts'
import { refuseSharedRoot, refuseUnkeptLimits } from './refusals.ts'
import { runTool } from './run-tool.ts'
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
  /** Of a root agent: one for each slot and, last, one to ask tools for their versions. */
  readonly #uids: SlotUids | undefined
  readonly #options: string[]
  readonly #closed: string[]
  /** One for each slot, once it was used. */
  readonly #boxes = new Map<number, LocalBox>()
  readonly #runtimes: Record<'plain' | 'sandboxed', RuntimeLookup>
  #fault: Promise<string | undefined> | undefined

  constructor(parts: BackendParts, bwrap: string) {
    const asRoot = process.getuid?.() === 0
    this.#parts = parts
    this.#bwrap = bwrap
    this.#places = placesOf(parts.agentDir, asRoot)
    this.#uids = asRoot ? takeSlotUids(parts.slots + 1, join(this.#places.private, 'uids.json')) : undefined
    this.#options = sandboxOptions(this.#places.etc)
    this.#closed = closedFolders(parts.agentDir)
    this.#runtimes = {
      plain: rememberRuntimes((tool, args) => this.#ask([tool, ...args])),
      sandboxed: rememberRuntimes((tool, args) =>
        this.#ask([bwrap, ...this.#options, ...interpreterOptions(tool, this.#closed), '--', tool, ...args]),
      ),
    }
  }

  async recover(): Promise<void> {
    await killAll(this.#uids ? ofUid(...this.#uids.uids) : markedBy(agentMark, this.#places.mark))
    await removeLeftovers(this.#places, this.#parts.policy.work_dirs)
    makePlaces(this.#places)
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
    const { assignment, submission, slot } = run
    const { settings, inSandbox, found } = await this.#admit(run)
    const uid = this.#uids?.uids[slot]
    const work = join(settings.work_dir ?? this.#places.work, workDirName(this.#places, assignment))
    const tmp = inSandbox ? undefined : `${work}-tmp`
    const program = programOf(submission, runtimes[assignment.runtime])
    const seen = inSandbox ? { home: sandboxHome, tmp: '/tmp' } : { home: work, tmp: `${work}-tmp` }
    const mark: Record<string, string> =
      inSandbox || uid !== undefined ? {} : { [agentMark]: this.#places.mark, [slotMark]: String(slot) }
    const phases = programPhases({
      run,
      found,
      program,
      env: { ...environmentAt({ interpreter: found.interpreter, ...seen }), ...mark },
      wrapper: inSandbox ? this.#wrapper(found, work) : undefined,
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

  async close(): Promise<void> {
    await Promise.all([...this.#boxes.values()].map((box) => box.close()))
    this.#uids?.release()
    if (this.#uids) rmSync(this.#places.reachable, { recursive: true, force: true })
  }

  /** Everything that can be refused before anything is made. */
  async #admit({
    assignment,
  }: Run): Promise<{ settings: LocalhostExecutor; inSandbox: boolean; found: FoundRuntime }> {
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

  #wrapper({ interpreter, launcher }: FoundRuntime, work: string): string[] {
    const tools = [interpreter, launcher].filter((tool) => tool !== undefined)
    const shown = tools.flatMap((tool) => interpreterOptions(tool, this.#closed))
    return sandboxed(this.#bwrap, [...this.#options, ...shown], work)
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
