import { setTimeout as sleep } from 'node:timers/promises'
import type { Bundle, BundlePhase } from '@errand/box'
import { Rejected } from '../backend.ts'
import type { BoxConnection } from '../box/box-connection.ts'
import { environmentAt } from '../box/environment.ts'
import { orAborted } from '../or-aborted.ts'
import type { Filling, InstalledSet, SetPlace } from '../sets/dependency-sets.ts'
import { installationOf, runInstallation } from '../sets/installation.ts'
import { linkerSteps } from '../sets/linker.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import type { Executed } from './executed.ts'
import { credentialsFor } from './index-credentials.ts'
import type { IndexCredentials } from './index-credentials.ts'
import { valueOf } from './prepare-target.ts'
import type { RemoteTarget } from './remote-target.ts'
import { setsScript } from './run-script.ts'

export interface RemoteSetsParts {
  remote: RemoteTarget
  /** Of this agent, in the names of what is its own there. */
  agent: string
  /** Names of installations that are under way on this account. */
  installing: Set<string>
  /** A box there that waits, with directories for one run. */
  openBox: (run: string, phasesIn: (work: string) => readonly BundlePhase[]) => Promise<OpenBox>
}

export interface OpenBox {
  connection: BoxConnection & { readonly gone: Promise<void>; release(): void }
  bundle: Pick<Bundle, 'workDir' | 'tmpDir' | 'phases'>
}

/** A lock that was not touched for two minutes is another's to take. */
const beatEveryMs = 20_000
const askAgainMs = 2_000
/** Many files are written, or removed. */
const filesMs = 300_000

/**
 * Dependency sets on a target, in the home of whom an executor logs in as, where agents share them: `sets.sh` says how
 * they lie there.
 */
export class RemoteSets implements SetPlace {
  readonly name: string
  readonly roomEveryMs = 10_000
  readonly #parts: RemoteSetsParts

  constructor(parts: RemoteSetsParts) {
    this.name = parts.remote.description
    this.#parts = parts
  }

  freeMb(): Promise<number | undefined> {
    return this.#parts.remote.freeMb()
  }

  async find({ hash }: NeededSet): Promise<InstalledSet | undefined> {
    return this.#setOf(hash, await this.#ask(['find', hash, this.#parts.agent]))
  }

  async fill(set: NeededSet, filling: Filling): Promise<InstalledSet> {
    const { remote, installing } = this.#parts
    const { assignment, log } = filling
    const credentials = credentialsFor(set, (await remote.place()).withoutBox !== undefined)
    log('warn', `over ssh nothing restricts the network of an installation: it has that of ${this.name}`)
    const attempt = remote.nameFor(`${assignment.id}-${assignment.fence}`)
    installing.add(attempt)
    try {
      const other = await this.#begin(set, attempt, filling)
      return other ?? (await this.#complete(set, attempt, filling, credentials))
    } catch (error) {
      // Where there is no way to it, whoever connects next will see to it.
      await this.#ask(['drop', set.hash, attempt]).catch(() => {})
      throw error
    } finally {
      installing.delete(attempt)
    }
  }

  /** It goes at once or stays whole: where there is no way to the target, the next use finds out which. */
  async remove({ hash }: { hash: string }): Promise<boolean> {
    const answer = await this.#ask(['remove', hash, this.#parts.agent]).catch(() => undefined)
    return answer !== undefined && valueOf(answer, 'removed') === 'yes'
  }

  /** Takes the right to install it; or waits for whoever has it, and finds what that made. */
  async #begin(set: NeededSet, attempt: string, { signal, log }: Filling): Promise<InstalledSet | undefined> {
    for (let told = false; ; told = true) {
      const begun = await orAborted(this.#ask(['begin', set.hash, attempt, this.#parts.agent]), signal)
      const lock = valueOf(begun, 'lock')
      if (lock === 'ours') return undefined
      if (lock !== 'theirs') throw new Error(`${this.name} takes no dependency set: ${begun.stderr.trim()}`)
      if (!told) log('info', 'another agent installs the same set there: waiting for that')
      await orAborted(sleep(askAgainMs), signal)
      const there = await orAborted(this.find(set), signal)
      if (there) return there
    }
  }

  async #complete(
    set: NeededSet,
    attempt: string,
    filling: Filling,
    credentials: IndexCredentials,
  ): Promise<InstalledSet> {
    const beats = setInterval(() => {
      this.#ask(['beat', set.hash, attempt]).catch(() => {})
    }, beatEveryMs)
    try {
      const bytes = await this.#install(set, attempt, filling, credentials)
      const finished = await this.#ask(['finish', set.hash, attempt, String(bytes)])
      const whole = await this.#setOf(set.hash, finished)
      if (whole) return whole
      throw new Error(`what was installed on ${this.name} is gone: ${finished.stderr.trim()}`)
    } finally {
      clearInterval(beats)
    }
  }

  async #install(
    set: NeededSet,
    attempt: string,
    filling: Filling,
    { env, files, secrets }: IndexCredentials,
  ): Promise<number> {
    const { assignment, signal, progress } = filling
    const dir = await this.#pathOf(set.hash, attempt)
    const todo = (work: string): Pick<Bundle, 'files' | 'stdin' | 'phases'> => {
      const place = { interpreter: set.interpreter, home: work, tmp: work.replace(/work$/, 'tmp') }
      const way = { dir, indexUrl: set.index.url! }
      return installationOf(set, way, {
        env: { ...environmentAt(place), ...env(work) },
        limitMs: assignment.limits.timeout_sec * 1_000,
        finally: linkerSteps(dir, set),
      })
    }
    const opening = this.#parts.openBox(`${assignment.id}-${assignment.fence}`, (work) => todo(work).phases)
    const { connection, bundle } = await orAborted(opening, signal, (late) => late.connection.release())
    const { files: own, stdin } = todo(bundle.workDir.path)
    try {
      progress.unseen()
      const whole = { ...bundle, stdin, files: [...own, ...files] }
      return await runInstallation(set, connection, whole, filling, { secrets })
    } finally {
      connection.release()
      await connection.gone
    }
  }

  async #setOf(hash: string, answer: Executed): Promise<InstalledSet | undefined> {
    const [, attempt, bytes] = /^([\w-]+) (\d+)$/.exec(valueOf(answer, 'set') ?? '') ?? []
    if (attempt === undefined) return undefined
    return { at: await this.#pathOf(hash, attempt), bytes: Number(bytes) }
  }

  async #pathOf(hash: string, attempt: string): Promise<string> {
    const { runs } = await this.#parts.remote.place()
    return `${runs.replace(/runs$/, 'sets')}/${hash}/${attempt}`
  }

  async #ask(words: readonly string[]): Promise<Executed> {
    return this.#parts.remote.ask(await setsScript(), words, filesMs)
  }
}

/** @throws {Rejected} for what lies on the agent's own host */
export function refuseFolderIndex({ index }: NeededSet): void {
  if (index.dir !== undefined)
    throw new Rejected(
      "index_dir is a folder of the agent's host, which an ssh target does not see: name an index_url that it can reach",
    )
}
