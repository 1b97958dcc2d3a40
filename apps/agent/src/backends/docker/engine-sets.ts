import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { proxiedIndexUrl } from '../../packages/install-steps.ts'
import { Rejected } from '../backend.ts'
import type { BackendParts } from '../backend.ts'
import { environmentAt } from '../box/environment.ts'
import { runTool } from '../run-tool.ts'
import type { DependencySets, Filling, InstalledSet, SetPlace } from '../sets/dependency-sets.ts'
import { installationOf, openWay, runInstallation } from '../sets/installation.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import type { ContainerLimits } from './container-limits.ts'
import { tmpDir, workDir } from './container-spec.ts'
import type { Mount } from './container-spec.ts'
import { containerUser } from './container-user.ts'
import type { Containers } from './containers.ts'
import { freeMbOf } from './engine-disk.ts'
import { answered } from './engine-fault.ts'
import type { Engine, Image } from './engine.ts'
import { directoriesOf } from './image-tools.ts'
import { expiresIn, labels } from './labels.ts'
import { folderTar } from './single-entry-tar.ts'
import { soon } from './soon.ts'

type Parts = Pick<BackendParts, 'agentDir' | 'spoolId' | 'slots' | 'policy' | 'log'>

/** What a set is installed with: the image that its programs run in, and what its container may use. */
export interface SetSource {
  image: Image
  limits: ContainerLimits
}

/**
 * Dependency sets in volumes of an Engine, each filled by a container of the image that it is for, which has no network
 * but the socket of our way to the index. Containers of runs have it read-only at the same path.
 */
export class EngineSets implements Omit<SetPlace, 'fill'> {
  readonly name = 'docker'
  readonly roomEveryMs = 1_000
  readonly #engine: Engine
  readonly #containers: Containers
  readonly #parts: Parts
  /** Volumes that this process made. */
  readonly #own = new Set<string>()
  /** Volumes that hold no whole set, and are to be removed. */
  readonly #left = new Set<string>()
  /** Whether it was seen what an earlier process left. */
  #looked = false

  constructor(engine: Engine, containers: Containers, parts: Parts) {
    this.#engine = engine
    this.#containers = containers
    this.#parts = parts
  }

  /** To install for programs of an image, in a container with these limits. */
  from(source: SetSource): SetPlace {
    const { name, roomEveryMs } = this
    return {
      name,
      roomEveryMs,
      freeMb: () => this.freeMb(),
      find: (set, known) => this.find(set, known),
      fill: (set, filling) => this.#fill(set, filling, source),
      remove: (set) => this.remove(set),
    }
  }

  /** Removes volumes that hold no whole set, and forgets sets whose volume is gone; to be called again and again. */
  async sweep(sets: DependencySets): Promise<void> {
    if (!this.#looked) {
      const known = sets.known(this.name)
      const names = await this.#engine.volumes(`${labels.agent}=${this.#parts.spoolId}`, labels.set)
      for (const { at, hash } of known) if (!names.includes(at)) sets.forget(hash, this.name)
      for (const name of names)
        if (!known.some(({ at }) => at === name) && !this.#own.has(name)) this.#left.add(name)
      this.#looked = true
      await sets.makeRoom(this)
    }
    for (const at of this.#left) if (await this.remove({ at })) this.#left.delete(at)
  }

  async freeMb(): Promise<number | undefined> {
    return freeMbOf(this.#engine, await this.#engine.facts())
  }

  async find({ hash }: NeededSet, known: InstalledSet | undefined): Promise<InstalledSet | undefined> {
    if (!known) return undefined
    const carried = await this.#engine.volume(known.at)
    if (carried?.[labels.set] === hash) return known
    // An empty one that the Engine made in its place, for a container.
    if (carried) await this.remove(known)
    return undefined
  }

  async remove({ at }: { at: string }): Promise<boolean> {
    try {
      await this.#engine.removeVolume(at)
      return true
    } catch (error) {
      // A container has it.
      if (answered(error, 409)) return false
      this.#left.add(at)
      throw error
    }
  }

  async #fill(set: NeededSet, filling: Filling, source: SetSource): Promise<InstalledSet> {
    if (!this.#engine.isLocal)
      throw new Rejected(
        "packages can be installed on an Engine of the agent's own host only: another cannot reach the way to the index",
      )
    const at = `errand-set-${set.hash.slice(0, 12)}-${randomBytes(4).toString('hex')}`
    const way = join(this.#parts.agentDir, 'docker', 'ways', String(filling.slot))
    this.#own.add(at)
    try {
      rmSync(way, { recursive: true, force: true })
      // Nobody else comes as far as this: the agent's directory is closed.
      mkdirSync(way, { recursive: true, mode: 0o755 })
      const bytes = await this.#fetchInto(at, way, set, filling, source)
      // The Engine's disk is one of this host's, wherever it is; a host without the tool does without.
      await runTool('sync', [], { timeoutMs: 0 }).catch(() => {})
      return { at, bytes }
    } catch (error) {
      this.#left.add(at)
      const removed = this.remove({ at }).then((gone) => void (gone && this.#left.delete(at)))
      await soon(removed.catch(() => {}))
      throw error
    } finally {
      rmSync(way, { recursive: true, force: true })
    }
  }

  async #fetchInto(
    at: string,
    way: string,
    set: NeededSet,
    filling: Filling,
    { image, limits }: SetSource,
  ): Promise<number> {
    const { slots, policy, spoolId } = this.#parts
    const { assignment, signal, progress, slot } = filling
    const user = containerUser(undefined, slots + slot)
    const own = { [labels.agent]: spoolId, [labels.set]: set.hash }
    const target = setTarget(set)
    await this.#containers.fill(at, { tar: folderTar(target.slice(1), user), target, labels: own })
    signal.throwIfAborted()
    const socketPath = join(way, socketName)
    const mostBytes = policy.disk.sets_mb * 1_048_576
    const { faults, close } = await openWay(set, { socketPath, mostBytes, progress })
    const container = `errand-${assignment.id}-${assignment.fence}`
    const limitMs = assignment.limits.timeout_sec * 1_000
    try {
      const { box } = await this.#containers
        .open(
          container,
          { image, limits, user, mounts: [volumeMount(at, target), wayMount(way)] },
          {
            [labels.execution]: assignment.id,
            [labels.fence]: String(assignment.fence),
            ...expiresIn(limitMs),
          },
        )
        .catch((error: unknown) => {
          if (!answered(error, 400)) throw error
          throw new Rejected(
            `the Docker Engine does not see the agent's directory, over which packages come (${way}): ${(error as Error).message}`,
          )
        })
      try {
        const todo = installationOf(
          set,
          {
            dir: target,
            indexUrl: proxiedIndexUrl(set.runtime),
            socketPath: `${wayTarget}/${socketName}`,
          },
          { env: this.#environment(set, image), limitMs },
        )
        const bundle = { ...todo, workDir: { path: workDir, make: false }, user }
        return await runInstallation(set, box, bundle, filling, { faults })
      } finally {
        box.close()
      }
    } finally {
      await close()
      await this.#containers.clear(container)
    }
  }

  #environment({ interpreter }: NeededSet, image: Image): Record<string, string> {
    const place = { interpreter, home: workDir, tmp: tmpDir, directories: directoriesOf(image) }
    return { ...image.env, ...environmentAt(place) }
  }
}

/** Where a set lies in containers. Packages for Node are to be in a folder above the program's. */
export function setTarget({ runtime }: Pick<NeededSet, 'runtime'>): string {
  return runtime === 'node' ? '/node_modules' : '/errand-set'
}

/** What of a set containers of runs have. */
export function setMount(at: string, set: Pick<NeededSet, 'runtime'>): Mount {
  return { ...volumeMount(at, setTarget(set)), readOnly: true }
}

function volumeMount(source: string, target: string): Mount {
  return { type: 'volume', source, target, readOnly: false }
}

function wayMount(source: string): Mount {
  return { type: 'bind', source, target: wayTarget, readOnly: true }
}

const wayTarget = '/errand-index'
const socketName = 'socket'
