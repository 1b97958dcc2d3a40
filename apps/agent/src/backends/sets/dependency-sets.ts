import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentStock, JobResult } from '@errand/shared'
import { Missing, Rejected } from '../backend.ts'
import type { BackendParts, Maintenance } from '../backend.ts'
import { Ledger } from '../ledger/ledger.ts'
import type { Entry } from '../ledger/ledger.ts'
import { surplus } from '../ledger/surplus.ts'
import { orAborted } from '../or-aborted.ts'
import { InstallProgress } from './install-progress.ts'
import type { NeededSet } from './needed-set.ts'

/** A set as it lies somewhere, whole. */
export interface InstalledSet {
  /** What its place knows it by: a path, a volume. Of an installation's own, so that none is ever mixed with another. */
  at: string
  bytes: number
}

/** What an installation is told to keep to, and what it tells. */
export interface Filling {
  slot: number
  assignment: Maintenance['assignment']
  /** Aborted with why it is to end at once. */
  signal: AbortSignal
  log: Maintenance['log']
  progress: Pick<InstallProgress, 'fetched' | 'unseen'>
}

/** Where sets of one backend lie: this host, an Engine, a target. */
export interface SetPlace {
  /** For people: `this host`, `docker`, `user@host:22`. */
  readonly name: string
  /** How often it may be asked what is free, in ms. */
  readonly roomEveryMs: number
  /** MB (of 1,048,576 bytes) that are free there; undefined where it can't be told. */
  freeMb(): Promise<number | undefined>
  /** The set that lies there whole; `known` is what the ledger says of it. */
  find(set: NeededSet, known: InstalledSet | undefined): Promise<InstalledSet | undefined>
  /**
   * Installs it into something new. Until what this returns is in the ledger nobody takes it for whole: what a crash
   * leaves is removed when the place is next looked through. Where it throws, nothing is left, or that is seen to.
   *
   * @throws {Rejected} what would fail again; anything else may be tried again
   */
  fill(set: NeededSet, filling: Filling): Promise<InstalledSet>
  /**
   * False where it stays as it is, because somebody else uses it.
   *
   * @throws where it may be half gone; what is left is removed when the place is next looked through
   */
  remove(set: Pick<InstalledSet, 'at'> & { hash: string }): Promise<boolean>
}

interface SetFacts {
  hash: string
  place: string
  at: string
  executor: string
  runtime: NeededSet['runtime']
  runtimeId: string
  dependencies: readonly string[]
}

/** A set that is not removed until `end` is called, which may happen more than once. */
export interface UsedSet {
  at: string
  end: () => void
}

/**
 * The dependency sets of one backend: installed once however many ask, whole or not at all, kept while they are used and
 * as long as there is room for them.
 */
export class DependencySets {
  readonly #parts: Pick<BackendParts, 'policy' | 'now' | 'stockChanged' | 'log'>
  readonly #ledger: Ledger<SetFacts>
  /** Under way, by key; they settle and never reject. */
  readonly #installations = new Map<string, Promise<void>>()
  readonly #removals = new Map<string, Promise<void>>()

  /** @param ledgerPath the file that knows of them after a restart */
  constructor(parts: Pick<BackendParts, 'policy' | 'now' | 'stockChanged' | 'log'>, ledgerPath: string) {
    this.#parts = parts
    this.#ledger = new Ledger(ledgerPath, parts.now, parts.stockChanged)
  }

  /**
   * The set for a run, in use from now on.
   *
   * @throws {Missing} where it is not installed
   */
  async use(set: NeededSet, place: Pick<SetPlace, 'name' | 'find'>): Promise<UsedSet> {
    const key = keyOf(set, place)
    const end = this.#ledger.use(key)
    try {
      await this.#removals.get(key)
      const there = await this.#find(set, place)
      if (there) return { at: there.at, end }
      throw new Missing('runtime.install', `not installed on ${place.name}: ${describe(set)}`)
    } catch (error) {
      end()
      throw error
    }
  }

  /** A set that a run of an earlier process has is in use until what this returns is called. */
  useStill(hash: string, place: string): () => void {
    return this.#ledger.use(keyOf({ hash }, { name: place }))
  }

  /** See `Backend.install`. */
  async install(set: NeededSet, place: SetPlace, work: Maintenance): Promise<JobResult> {
    const begunAt = performance.now()
    const key = keyOf(set, place)
    work.starting()
    for (let other; (other = this.#installations.get(key));) {
      work.log('info', 'the same set is being installed for another job: waiting for that')
      await orAborted(other, work.signal)
    }
    const installing = this.#installOnce(set, place, work)
    const forget = (): void => void this.#installations.delete(key)
    this.#installations.set(key, installing.then(forget, forget))
    const { bytes, already_there } = await installing
    return { digest: set.hash, bytes, already_there, took_ms: performance.now() - begunAt }
  }

  /** What is known of the sets of a place, for whoever looks through it. */
  known(place: string): (InstalledSet & { hash: string })[] {
    return this.#of(place).map(({ bytes, facts: { at, hash } }) => ({ at, bytes, hash }))
  }

  /** It is not there any more. */
  forget(hash: string, place: string): void {
    this.#ledger.forget(keyOf({ hash }, { name: place }))
  }

  /** Removes what is too old at a place, and what was not used for longest until the rest is within the budget. */
  async makeRoom(place: Pick<SetPlace, 'name' | 'remove'>, sparing?: NeededSet): Promise<void> {
    const { sets_mb, sets_max_age_days } = this.#parts.policy.disk
    const room = {
      mostBytes: sets_mb * mb,
      maxAgeMs: sets_max_age_days * 24 * 3_600_000,
      now: this.#parts.now(),
    }
    for (const one of surplus(this.#of(place.name), room, sparing && keyOf(sparing, place)))
      await this.#remove(one, place)
  }

  /** After the last use. */
  close(): void {
    this.#ledger.close()
  }

  stock(): AgentStock['sets'] {
    return this.#ledger.entries().map(({ bytes, lastUsedAt, inUse, facts }) => ({
      hash: facts.hash,
      executor: facts.executor,
      place: facts.place,
      runtime: facts.runtime,
      runtime_id: facts.runtimeId,
      dependencies: [...facts.dependencies],
      bytes,
      last_used_at: new Date(lastUsedAt).toISOString(),
      in_use: inUse,
    }))
  }

  async #installOnce(
    set: NeededSet,
    place: SetPlace,
    work: Maintenance,
  ): Promise<{ bytes: number; already_there: boolean }> {
    const { signal, log } = work
    const key = keyOf(set, place)
    await orAborted(this.#removals.get(key) ?? Promise.resolve(), signal)
    const there = await orAborted(this.#find(set, place), signal)
    if (there) {
      log('info', `installed on ${place.name} already: ${describe(set)}`)
      return { bytes: there.bytes, already_there: true }
    }
    await this.#refuseFullDisk(place, signal)
    log('info', `installing on ${place.name}: ${describe(set)}`)
    const progress = new InstallProgress(work.progress)
    // Whatever it was about to use must not be removed, nor what it brings.
    const end = this.#ledger.use(key)
    try {
      const { at, bytes } = await this.#whileThereIsRoom(place, signal, (until) =>
        place.fill(set, { ...work, signal: until, progress }),
      )
      await this.#note(set, place, { at, bytes })
      progress.done()
      log('info', `installed: ${(bytes / mb).toFixed(1)} MB`)
      await this.makeRoom(place, set)
      return { bytes, already_there: false }
    } finally {
      progress.end()
      end()
    }
  }

  /** From here on it is whole; where that cannot be kept, it is none. */
  async #note(set: NeededSet, place: SetPlace, { at, bytes }: InstalledSet): Promise<void> {
    const key = keyOf(set, place)
    try {
      this.#ledger.put(key, { bytes, facts: factsOf(set, place, at) })
    } catch (error) {
      await place.remove({ at, hash: set.hash }).finally(() => this.#ledger.forget(key))
      throw error
    }
  }

  async #find(set: NeededSet, place: Pick<SetPlace, 'name' | 'find'>): Promise<InstalledSet | undefined> {
    const key = keyOf(set, place)
    const known = this.#ledger.get(key)
    const there = await place.find(set, known && { at: known.facts.at, bytes: known.bytes })
    if (there?.at === known?.facts.at) return there
    // Somebody has removed it, or installed it where several do.
    if (there) this.#ledger.put(key, { bytes: there.bytes, facts: factsOf(set, place, there.at) })
    else this.#ledger.forget(key)
    return there
  }

  /** Removes sets that nobody uses, if that helps. */
  async #refuseFullDisk(place: SetPlace, signal: AbortSignal): Promise<void> {
    const tried = new Set<string>()
    for (;;) {
      const lack = await orAborted(this.#lackOfRoom(place), signal)
      if (lack === undefined) return
      const last = this.#of(place.name).findLast(({ key, inUse }) => !inUse && !tried.has(key))
      if (!last) throw new Rejected(lack)
      tried.add(last.key)
      await this.#remove(last, place)
    }
  }

  /** Ends what fills up the disk. */
  async #whileThereIsRoom<T>(
    place: SetPlace,
    signal: AbortSignal,
    act: (until: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const full = new AbortController()
    const over = new AbortController()
    const watch = async (): Promise<void> => {
      for (;;) {
        await sleep(place.roomEveryMs, undefined, { signal: over.signal, ref: false })
        const lack = await this.#lackOfRoom(place)
        if (lack !== undefined) full.abort(new Rejected(lack))
      }
    }
    // It ends by being aborted, or where nobody can tell any more.
    watch().catch(() => {})
    try {
      return await act(AbortSignal.any([signal, full.signal]))
    } finally {
      over.abort()
    }
  }

  async #lackOfRoom(place: SetPlace): Promise<string | undefined> {
    const { min_free_mb } = this.#parts.policy.disk
    const freeMb = await place.freeMb()
    if (freeMb === undefined || freeMb >= min_free_mb) return undefined
    return `no room for packages: ${freeMb} MB are free on ${place.name}, and this agent's policy keeps ${min_free_mb} MB free (disk.min_free_mb)`
  }

  #of(place: string): Entry<SetFacts>[] {
    return this.#ledger.entries().filter(({ facts }) => facts.place === place)
  }

  async #remove({ key }: Entry<SetFacts>, place: Pick<SetPlace, 'remove'>): Promise<void> {
    const known = this.#ledger.get(key)
    if (!known || known.inUse || this.#removals.has(key)) return
    const over = this.#removeKnown(known, place).finally(() => this.#removals.delete(key))
    this.#removals.set(key, over)
    await over
  }

  async #removeKnown(
    { key, bytes, lastUsedAt, facts }: Entry<SetFacts>,
    place: Pick<SetPlace, 'remove'>,
  ): Promise<void> {
    const { log } = this.#parts
    const about = { set: facts.hash, place: facts.place, bytes }
    try {
      // First, so that nobody takes half of it for whole should we die meanwhile.
      this.#ledger.forget(key)
    } catch (err) {
      // A full disk: removing makes room.
      log.warn({ ...about, err }, 'the list of dependency sets cannot be written')
    }
    try {
      if (await place.remove(facts)) log.info(about, 'removed a dependency set')
      else this.#ledger.put(key, { bytes, lastUsedAt, facts })
    } catch (err) {
      log.warn({ ...about, err }, 'a dependency set cannot be removed now')
    }
  }
}

const mb = 1_048_576

function keyOf({ hash }: Pick<NeededSet, 'hash'>, { name }: { name: string }): string {
  return `${name} ${hash}`
}

function factsOf(set: NeededSet, { name: place }: { name: string }, at: string): SetFacts {
  const { hash, executor, runtime, runtimeId, dependencies } = set
  return { hash, place, at, executor, runtime, runtimeId, dependencies }
}

function describe({ dependencies, runtimeId }: NeededSet): string {
  const shown = dependencies.slice(0, 5).join(', ').slice(0, 300)
  const more = dependencies.length > 5 ? ` and ${dependencies.length - 5} more` : ''
  return `${shown}${more} (${runtimeId})`
}
