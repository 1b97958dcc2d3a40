import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runtimeName, runtimes } from '@errand/shared'
import type { AgentReport, BackendReport, Isolation, LocalhostExecutor } from '@errand/shared'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import { rememberRuntimes } from '../../runtimes/remember-runtimes.ts'
import type { RuntimeLookup } from '../../runtimes/remember-runtimes.ts'
import { Rejected } from '../backend.ts'
import type { Backend, BackendParts, Run, RunEnd } from '../backend.ts'
import { closeInheritedDescriptors } from './inherited-descriptors.ts'
import { makeChannels } from './channels.ts'
import type { Channels } from './channels.ts'
import type { Command, Ends, Launch } from './launch.ts'
import { agentMark, launchPlain } from './launch-plain.ts'
import { launchSandboxed } from './launch-sandboxed.ts'
import { makePlaces, placesOf, removeLeftovers, workDirName } from './places.ts'
import type { Places } from './places.ts'
import { probeSandbox } from './probe-sandbox.ts'
import { killAll, markedBy, ofUid } from './processes.ts'
import { refuseSharedRoot, refuseUnkeptLimits } from './refusals.ts'
import { runProgram } from './run-program.ts'
import { runTool } from './run-tool.ts'
import { closedFolders, interpreterOptions, sandboxHome, sandboxOptions } from './sandbox.ts'
import { takeSlotUids } from './slot-uids.ts'
import type { SlotUids } from './slot-uids.ts'
import { unnamedFile } from './unnamed-file.ts'
import { makeWorkDir, removeWorkDir } from './work-dir.ts'

/**
 * Runs code on the agent's own host: in bubblewrap, or as it is where executor and policy say `sandbox: none`. A root
 * agent runs each slot's code under a uid of its own; any other agent has only its own uid to run it under.
 */
export function createLocalhost(parts: BackendParts, { bwrap = '/usr/bin/bwrap' } = {}): Backend {
  return new Localhost(parts, bwrap)
}

class Localhost implements Backend {
  readonly type = 'localhost'
  readonly #parts: BackendParts
  readonly #bwrap: string
  readonly #places: Places
  /** Of a root agent: one for each slot and, last, one to ask tools for their versions. */
  readonly #uids: SlotUids | undefined
  readonly #options: string[]
  readonly #closed: string[]
  readonly #channels = new Map<number, Channels>()
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
    closeInheritedDescriptors()
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
    const { settings, sandboxed, found } = await this.#admit(run)
    const uid = this.#uids?.uids[slot]
    const channels = await this.#channelsOf(slot)
    const program = programOf(submission, runtimes[assignment.runtime])
    const work = join(settings.work_dir ?? this.#places.work, workDirName(this.#places, assignment))
    const dir = { work, tmp: sandboxed ? undefined : `${work}-tmp` }
    try {
      makeWorkDir(dir, program, uid)
      const { drained, ...end } = await runProgram({
        run,
        name: assignment.runtime,
        found,
        program,
        dir,
        seen: sandboxed ? { home: sandboxHome, tmp: '/tmp' } : { home: work, tmp: `${work}-tmp` },
        channels,
        uid,
        isolation: this.#isolation(sandboxed),
        launch: (command, ends) => this.#launch(run, command, ends, channels, sandboxed),
        file: (content) => this.#file(run, content),
        drainMs: this.#parts.time.drainMs,
      })
      if (!drained) this.#channels.delete(slot)
      return { ...end, gone: this.#remove(run, () => removeWorkDir(dir, program)) }
    } catch (error) {
      await this.#remove(run, () => removeWorkDir(dir, program))
      throw error
    }
  }

  async close(): Promise<void> {
    this.#uids?.release()
    if (this.#uids) rmSync(this.#places.reachable, { recursive: true, force: true })
  }

  /** Everything that can be refused before anything is made. */
  async #admit({
    assignment,
  }: Run): Promise<{ settings: LocalhostExecutor; sandboxed: boolean; found: FoundRuntime }> {
    const settings = assignment.executor.settings as LocalhostExecutor
    refuseUnkeptLimits(assignment)
    if (settings.work_dir !== undefined) refuseSharedRoot(settings.work_dir)
    // `preferred` may lose control groups and seccomp, never what bubblewrap gives.
    const sandboxed = settings.sandbox !== 'none'
    const fault = sandboxed ? await this.#sandboxFault() : undefined
    if (fault !== undefined) throw new Rejected(fault)
    const { runtime } = assignment
    const interpreter = settings.runtime === runtime ? settings.code_executor_path : undefined
    const found = await this.#runtimes[sandboxed ? 'sandboxed' : 'plain'](runtime, interpreter)
    if (!found)
      throw new Error(`no interpreter for ${runtime}: looked for ${describeSearch(runtime, interpreter)}`)
    return { settings, sandboxed, found }
  }

  #launch(run: Run, command: Command, ends: Ends, channels: Channels, sandboxed: boolean): Launch {
    const uid = this.#uids?.uids[run.slot]
    const { mark } = this.#places
    if (!sandboxed) {
      const runMark = workDirName(this.#places, run.assignment)
      return launchPlain(command, ends, uid === undefined ? { agent: mark, run: runMark } : { uid })
    }
    return launchSandboxed(command, ends, {
      bwrap: this.#bwrap,
      options: this.#options,
      closed: this.#closed,
      env: { [agentMark]: mark },
      channels,
      file: (content) => this.#file(run, content),
    })
  }

  #file({ slot }: Run, content: string): number {
    return unnamedFile(join(this.#places.private, `file-${slot}`), content, this.#uids?.uids[slot])
  }

  async #channelsOf(slot: number): Promise<Channels> {
    const known = this.#channels.get(slot)
    if (known) return known
    const made = await makeChannels(join(this.#places.private, `slot-${slot}`), this.#uids?.uids[slot])
    this.#channels.set(slot, made)
    return made
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

  #isolation(sandboxed: boolean): Isolation {
    return {
      sandbox: sandboxed ? 'bubblewrap' : 'none',
      own_uid: this.#uids !== undefined,
      mount_namespace: sandboxed,
      pid_namespace: sandboxed,
      network: sandboxed ? 'none' : 'host',
      cgroup: false,
      seccomp: false,
    }
  }
}
