import { constants } from 'node:os'
import { join } from 'node:path'
import { fullImageName, runtimes } from '@errand/shared'
import type {
  AgentReport,
  AgentStock,
  Assignment,
  BackendReport,
  CheckReport,
  DockerExecutor,
  Isolation,
  JobResult,
} from '@errand/shared'
import { crashPoint } from '../../crash-point.ts'
import { runWithSet } from '../../packages/install-steps.ts'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { Lost, NotStarted, Rejected } from '../backend.ts'
import type {
  AdoptedRun,
  Backend,
  BackendParts,
  Check,
  Maintenance,
  Run,
  RunEnd,
  RunEvents,
} from '../backend.ts'
import type { Claim } from '../../claim.ts'
import { orAborted } from '../or-aborted.ts'
import { BoxFailed } from '../box/box-connection.ts'
import { phaseLimits } from '../box/program-phases.ts'
import { adoptInBox, runInBox } from '../box/run-in-box.ts'
import type { BoxedEnd } from '../box/run-in-box.ts'
import { DependencySets } from '../sets/dependency-sets.ts'
import { neededSet } from '../sets/needed-set.ts'
import { bundleOf } from './bundle-of.ts'
import { checkEngine } from './check-engine.ts'
import { ContainerEnded } from './container-box.ts'
import { containerLimits } from './container-limits.ts'
import { containerUser } from './container-user.ts'
import { Containers } from './containers.ts'
import type { Opened, Place } from './containers.ts'
import { Engine } from './engine.ts'
import type { EngineFacts } from './engine.ts'
import { diskOf } from './engine-disk.ts'
import { isAway } from './engine-fault.ts'
import { KnownImages } from './known-images.ts'
import { engineLacks, refuseLacking } from './engine-lacks.ts'
import { EngineSets, setMount, setTarget } from './engine-sets.ts'
import { ImageDownloads } from './image-downloads.ts'
import { imageOf, namedInterpreter } from './image-of.ts'
import { directoriesOf, ImageTools } from './image-tools.ts'
import { expiresIn, labels } from './labels.ts'
import { refuseWhatIsToCome } from './refusals.ts'
import { soon } from './soon.ts'

/** Runs each job in a container of its own, on the Engine that `DOCKER_HOST` names. */
export function createDocker(parts: BackendParts, env: NodeJS.ProcessEnv = process.env): Backend {
  return new DockerBackend(parts, env)
}

/** Where and by what a job's code is run. */
interface Found {
  facts: EngineFacts
  place: Place
  found: FoundRuntime
}

interface Prepared extends Opened, Found {
  /** Variables of its dependency set. */
  env: Record<string, string>
  kept: Kept
  /** It needs its dependency set no more. */
  endUse: () => void
}

/** The Engine's log holds back what ends in no line. */
const heldBackMs = 1_000

/** What it takes to go on with a run beside its container, which is found by its name. */
interface Kept {
  image: string
  /** The hash of its dependency set. */
  set?: string | undefined
  runtimeId: string
  isolation: Isolation
}

class DockerBackend implements Backend {
  readonly type = 'docker'
  readonly #parts: BackendParts
  readonly #engine: Engine
  readonly #containers: Containers
  readonly #tools: ImageTools
  readonly #images: KnownImages
  readonly #downloads: ImageDownloads
  readonly #sets: DependencySets
  readonly #engineSets: EngineSets
  #reconciler: NodeJS.Timeout | undefined

  constructor(parts: BackendParts, env: NodeJS.ProcessEnv) {
    this.#parts = parts
    this.#engine = new Engine(env, parts.time)
    this.#containers = new Containers(this.#engine, parts)
    this.#tools = new ImageTools((place, commands) => this.#containers.ask(place, commands))
    this.#images = new KnownImages({
      ...parts,
      engine: this.#engine,
      disk: parts.policy.disk,
      changed: parts.stockChanged,
    })
    this.#downloads = new ImageDownloads({ ...parts, engine: this.#engine, images: this.#images })
    this.#sets = new DependencySets(parts, join(parts.agentDir, 'docker', 'sets.json'))
    this.#engineSets = new EngineSets(this.#engine, this.#containers, parts)
  }

  async recover(adopted: readonly Claim[]): Promise<void> {
    this.#containers.keep(adopted.map(nameOf))
    const removed = this.#removeLeftovers()
      .then(() => this.#containers.removeVolumes().catch(() => {}))
      .then(() => this.#sweepSets())
    // The agent does not wait for ever for an Engine that hangs; what it has is found later.
    await soon(removed, this.#parts.time.engineAnswerMs)
    let underWay: Promise<void> | undefined
    // Again and again: an Engine that was away comes back with what it had.
    this.#reconciler = setInterval(() => {
      underWay ??= this.#removeLeftovers()
        .then(() => this.#sweepSets())
        .finally(() => (underWay = undefined))
    }, this.#parts.time.renewEveryMs).unref()
  }

  async probe(): Promise<BackendReport> {
    try {
      const facts = await this.#engine.factsNow(this.#parts.time.handshakeMs)
      const missing = engineLacks(facts)
      return { available: missing.length === 0, isolation: isolationOf(facts), missing }
    } catch (error) {
      return { available: false, isolation: null, missing: [(error as Error).message.slice(0, 1_000)] }
    }
  }

  /** Those of images are found when a job needs them. */
  async runtimes(): Promise<AgentReport['runtimes']> {
    return {}
  }

  async run(run: Run): Promise<RunEnd> {
    const name = nameOf(run.assignment)
    const unuse = await this.#images.use(imageNameOf(run.assignment))
    let isPreparing = true
    const preparing = this.#prepare(run, name).finally(() => (isPreparing = false))
    try {
      const prepared = await unlessAborted(preparing, run.signal)
      const { box, found, place, env, kept } = prepared
      const end = await this.#hear(run, () => runInBox(run, box, bundleOf(run, found, place, env), kept))
      return endWith(end, prepared.id, kept, this.#clear(run.assignment).finally(unuse))
    } catch (error) {
      const closed = preparing.then(({ box }) => box.close()).catch(() => {})
      const cleared = closed.then(() => this.#containers.clear(name)).finally(unuse)
      // Nobody waits for an Engine that may not answer, or does not.
      if (!isPreparing && !isAway(error) && !isAway((error as Error).cause)) await cleared
      throw error
    } finally {
      void preparing.then(({ endUse }) => endUse()).catch(() => {})
    }
  }

  async adopt(run: AdoptedRun): Promise<RunEnd> {
    const name = nameOf(run.assignment)
    const kept = run.kept as Kept
    const unuse = await this.#images.use(kept.image)
    const endUse = kept.set === undefined ? () => {} : this.#sets.useStill(kept.set, this.#engineSets.name)
    const over = (): void => {
      unuse()
      endUse()
    }
    let adopted: Opened | undefined
    try {
      adopted = await orAborted(this.#containers.adopt(name), run.signal, (late) => late.box.close())
      const { id, box } = adopted
      const end = await this.#hear(run, () => adoptInBox(run, box, phaseLimits(run.assignment), heldBackMs))
      return endWith(end, id, kept, this.#clear(run.assignment).finally(over))
    } catch (error) {
      adopted?.box.close()
      await this.#clear(run.assignment).finally(over)
      if (adopted && !adopted.box.hasBegun && neverBegan(error))
        throw new NotStarted('the agent died before its files had come whole')
      throw unproved(error)
    }
  }

  check(asked: Check): Promise<CheckReport> {
    return checkEngine(asked, {
      engine: this.#engine,
      minFreeMb: this.#parts.policy.disk.min_free_mb,
      find: (place, { runtime }) => this.#tools.find(place, runtime, namedInterpreter(asked)),
    })
  }

  async stock(): Promise<Partial<AgentStock>> {
    return { images: this.#images.stock(), sets: this.#sets.stock(), disk: await this.#disk() }
  }

  download(work: Maintenance): Promise<JobResult> {
    return this.#downloads.download(work)
  }

  async install(work: Maintenance & { dependencies: readonly string[] }): Promise<JobResult> {
    const { assignment, dependencies, slot, signal } = work
    const unuse = await this.#images.use(imageNameOf(assignment))
    try {
      const { place, found } = await unlessAborted(this.#find(assignment, slot), signal)
      const set = neededSet(assignment, dependencies, found, place.image.id)
      return await this.#sets.install(set, this.#engineSets.from(place), work)
    } finally {
      unuse()
    }
  }

  tidy(): Promise<void> {
    return this.#sets.makeRoom(this.#engineSets)
  }

  async close(): Promise<void> {
    clearInterval(this.#reconciler)
    const stays = (err: unknown): void =>
      this.#parts.log.warn({ err }, 'the volume of the box stays on the Docker Engine')
    await soon(this.#containers.removeVolumes().catch(stays))
    this.#images.close()
    this.#sets.close()
  }

  /** All that comes before the program; what can be refused is refused before anything is made. */
  async #prepare({ assignment, dependencies, slot }: Run, name: string): Promise<Prepared> {
    const { runtime, id, fence, limits: asked } = assignment
    const { facts, place, found } = await this.#find(assignment, slot)
    const set = await this.#use(assignment, dependencies, { place, found })
    const compileSec = runtimes[runtime].compile?.timeout_sec ?? 0
    try {
      const opened = await this.#containers.open(name, set.place, {
        [labels.execution]: id,
        [labels.fence]: String(fence),
        ...expiresIn((compileSec + asked.timeout_sec) * 1_000),
      })
      const kept = {
        image: imageNameOf(assignment),
        set: set.hash,
        runtimeId: found.id,
        isolation: isolationOf(facts),
      }
      return { ...set, ...opened, facts, kept }
    } catch (error) {
      set.endUse()
      throw error
    }
  }

  /** The same with the job's dependency set, which nobody removes before `endUse` is called. */
  async #use(
    assignment: Assignment,
    dependencies: readonly string[],
    { place, found }: Pick<Found, 'place' | 'found'>,
  ): Promise<Pick<Prepared, 'place' | 'found' | 'env' | 'endUse'> & { hash?: string }> {
    if (dependencies.length === 0) return { place, found, env: {}, endUse: () => {} }
    const set = neededSet(assignment, dependencies, found, place.image.id)
    const { at, end } = await this.#sets.use(set, this.#engineSets)
    const { interpreter = found.interpreter, env } = runWithSet({ ...set, dir: setTarget(set) })
    return {
      place: { ...place, mounts: [setMount(at, set)] },
      found: { ...found, interpreter },
      env,
      hash: set.hash,
      endUse: end,
    }
  }

  async #find(assignment: Assignment, slot: number): Promise<Found> {
    const settings = assignment.executor.settings as DockerExecutor
    const { runtime } = assignment
    refuseWhatIsToCome(settings)
    const user = containerUser(settings.user, slot)
    const facts = await this.#engine.facts()
    refuseLacking(facts)
    const limits = containerLimits(assignment, facts)
    const image = await imageOf(this.#engine, settings, this.#downloads.isFresh(assignment))
    this.#images.seen(fullImageName(settings.image)!, image)
    const place = { image, limits, user }
    const interpreter = namedInterpreter(assignment)
    const found = await this.#tools.find(place, runtime, interpreter)
    if (!found) {
      const search = describeSearch(runtime, interpreter, directoriesOf(image))
      throw new Error(`no interpreter for ${runtime} in the image ${settings.image}: looked for ${search}`)
    }
    return { facts, place, found }
  }

  async #hear(run: RunEvents, hearing: () => Promise<BoxedEnd>): Promise<BoxedEnd> {
    try {
      return await hearing()
    } catch (error) {
      if (error instanceof BoxFailed && error.errno === constants.errno.ENOSPC)
        throw new Rejected(
          `its files need more than disk_limit_mb, or half of mem_limit_mb (${error.message})`,
        )
      if (!(error instanceof ContainerEnded)) throw error
      if (error.outOfMemory && error.phase === undefined)
        throw new Rejected('its files and input need more than mem_limit_mb')
      if (!run.signal.aborted && !error.outOfMemory) throw error
      run.exited()
      return killedEnd(error, run.signal.aborted)
    }
  }

  #clear(claim: Claim): Promise<void> {
    crashPoint('removing', claim)
    return this.#containers.clear(nameOf(claim))
  }

  /** Where the Engine keeps images; nothing where it is another host's, or does not answer. */
  async #disk(): Promise<AgentStock['disk']> {
    try {
      const disk = await diskOf(this.#engine, await this.#engine.facts())
      return disk ? [disk] : []
    } catch {
      return []
    }
  }

  async #sweepSets(): Promise<void> {
    try {
      await this.#engineSets.sweep(this.#sets)
    } catch (err) {
      this.#parts.log.debug({ err }, 'the Docker Engine cannot be asked for dependency sets that were left')
    }
  }

  async #removeLeftovers(): Promise<void> {
    try {
      await this.#containers.removeLeftovers()
    } catch (err) {
      this.#parts.log.debug({ err }, 'the Docker Engine cannot be asked for containers that were left')
    }
  }
}

function nameOf({ id, fence }: Claim): string {
  return `errand-${id}-${fence}`
}

function imageNameOf({ executor }: Assignment): string {
  return fullImageName((executor.settings as DockerExecutor).image)!
}

function endWith(
  end: BoxedEnd,
  container_id: string,
  { runtimeId: runtime_id, isolation }: Kept,
  gone: Promise<void>,
): RunEnd {
  return { ...end, error: null, runtime_id, container_id, isolation, gone }
}

/** Whether its box says that it never had all that it was to do: the agent had died before. */
function neverBegan(error: unknown): boolean {
  if (error instanceof BoxFailed) return error.errno === constants.errno.EPIPE
  return error instanceof ContainerEnded && error.exitCode === 0
}

/** Nobody looked on: where its log does not tell how it ended, that is not known. */
function unproved(error: unknown): unknown {
  if (!isAway(error) && !(error instanceof ContainerEnded)) return error
  return new Lost(`the agent died while it ran: ${(error as Error).message}`, { cause: error })
}

/** Of a program whose box could not tell: the Engine killed both, or the kernel did. */
function killedEnd({ phase, outOfMemory }: ContainerEnded, asked: boolean): BoxedEnd {
  return {
    phase: phase === 'compile' ? 'compile' : 'run',
    exit_code: null,
    signal: 'SIGKILL',
    out_of_memory: outOfMemory,
    killed_for: outOfMemory && !asked ? 'memory' : null,
    usage: null,
    compile: null,
  }
}

function isolationOf({ seccomp }: EngineFacts): Isolation {
  return {
    sandbox: 'container',
    own_uid: true,
    mount_namespace: true,
    pid_namespace: true,
    network: 'none',
    cgroup: true,
    seccomp,
  }
}

/** @throws {NotStarted} as soon as it is to end, whatever the Engine is doing */
function unlessAborted<T>(act: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new NotStarted(`it is to end: ${signal.reason}`))
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    act.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
