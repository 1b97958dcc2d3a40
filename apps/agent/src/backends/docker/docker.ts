import { randomUUID } from 'node:crypto'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { fullImageName, runtimes } from '@errand/shared'
import type { AgentReport, BackendReport, DockerExecutor, Isolation } from '@errand/shared'
import type { Bundle } from '@errand/box'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import { NotStarted, Rejected } from '../backend.ts'
import type { Backend, BackendParts, Run, RunEnd } from '../backend.ts'
import { askInBox } from '../box/ask-in-box.ts'
import type { Answer } from '../box/ask-in-box.ts'
import { BoxFailed } from '../box/box-connection.ts'
import { environmentAt } from '../box/environment.ts'
import { programPhases } from '../box/program-phases.ts'
import { runInBox } from '../box/run-in-box.ts'
import type { BoxedEnd } from '../box/run-in-box.ts'
import { BoxVolume } from './box-volume.ts'
import { ContainerBox, ContainerEnded } from './container-box.ts'
import { containerLimits } from './container-limits.ts'
import type { ContainerLimits } from './container-limits.ts'
import { containerSpec, tmpDir, workDir } from './container-spec.ts'
import type { ContainerParts, ContainerUser } from './container-spec.ts'
import { containerUser } from './container-user.ts'
import { Engine } from './engine.ts'
import type { EngineFacts, Image } from './engine.ts'
import { answered } from './engine-fault.ts'
import { directoriesOf, ImageTools } from './image-tools.ts'
import { expiresIn, labels } from './labels.ts'
import { removeLeftovers } from './leftovers.ts'
import { refuseWhatIsToCome } from './refusals.ts'

/** Runs each job in a container of its own, on the Engine that `DOCKER_HOST` names. */
export function createDocker(parts: BackendParts, env: NodeJS.ProcessEnv = process.env): Backend {
  return new DockerBackend(parts, env)
}

/** A container whose box waits for its bundle. */
interface Opened {
  id: string
  box: ContainerBox
}

interface Prepared extends Opened {
  facts: EngineFacts
  image: Image
  found: FoundRuntime
  limits: ContainerLimits
  user: ContainerUser
}

type Place = Pick<ContainerParts, 'image' | 'limits' | 'user'>

class DockerBackend implements Backend {
  readonly type = 'docker'
  readonly #parts: BackendParts
  readonly #engine: Engine
  readonly #box: BoxVolume
  readonly #tools = new ImageTools()
  /** Names of the containers that runs need or clear away right now. */
  readonly #live = new Set<string>()
  #reconciler: NodeJS.Timeout | undefined

  constructor(parts: BackendParts, env: NodeJS.ProcessEnv) {
    this.#parts = parts
    this.#engine = new Engine(env, parts.time)
    this.#box = new BoxVolume(this.#engine, parts.spoolId)
  }

  async recover(): Promise<void> {
    await this.#removeLeftovers()
    await this.#box.remove().catch(() => {})
    let under: Promise<void> | undefined
    // Also finds what an Engine that was away kept from us.
    this.#reconciler = setInterval(() => {
      under ??= this.#removeLeftovers().finally(() => (under = undefined))
    }, this.#parts.time.renewEveryMs).unref()
  }

  async probe(): Promise<BackendReport> {
    try {
      const facts = await this.#engine.factsNow()
      const lacking = Object.entries(facts.keeps).filter(([, kept]) => !kept)
      const missing = lacking.map(
        ([name]) => `the Docker Engine's host lacks the control group for ${name}: no job is taken`,
      )
      return { available: missing.length === 0, isolation: isolationOf(facts), missing }
    } catch (error) {
      return { available: false, isolation: null, missing: [(error as Error).message] }
    }
  }

  /** Those of images are found when a job needs them. */
  async runtimes(): Promise<AgentReport['runtimes']> {
    return {}
  }

  async run(run: Run): Promise<RunEnd> {
    const name = `errand-${run.assignment.id}-${run.assignment.fence}`
    this.#live.add(name)
    const preparing = this.#prepare(run, name)
    try {
      const prepared = await unlessAborted(preparing, run.signal)
      const end = await this.#runIn(run, prepared)
      return {
        ...end,
        error: null,
        runtime_id: prepared.found.id,
        container_id: prepared.id,
        isolation: isolationOf(prepared.facts),
        gone: this.#clear(name),
      }
    } catch (error) {
      // What an Engine that does not answer keeps, the reconciler removes.
      const closed = preparing.then(({ box }) => box.close()).catch(() => {})
      await soon(closed.then(() => this.#clear(name)))
      throw error
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#reconciler)
    await this.#box.remove().catch((err) => this.#parts.log.warn({ err }, 'the volume of the box stays'))
  }

  /** All that comes before the program; what can be refused is refused before anything is made. */
  async #prepare(run: Run, name: string): Promise<Prepared> {
    const { assignment, slot } = run
    const settings = assignment.executor.settings as DockerExecutor
    refuseWhatIsToCome(settings)
    const user = containerUser(settings.user, slot)
    const facts = await this.#engine.facts()
    const limits = containerLimits(assignment, facts)
    const image = await this.#engine.image(fullImageName(settings.image)!)
    if (!image)
      throw new Error(
        `the image ${settings.image} is not on this agent: pull it there (docker pull ${settings.image})`,
      )
    const place = { image, limits, user }
    const { runtime } = assignment
    const interpreter = settings.runtime === runtime ? settings.code_executor_path : undefined
    const found = await this.#tools.find(image, runtime, interpreter, (commands) =>
      this.#ask(place, commands),
    )
    if (!found) {
      const search = describeSearch(runtime, interpreter, directoriesOf(image))
      throw new Error(`no interpreter for ${runtime} in the image ${settings.image}: looked for ${search}`)
    }
    const compileMs = (runtimes[runtime].compile?.timeout_sec ?? 0) * 1_000
    const opened = await this.#open(name, place, {
      [labels.execution]: assignment.id,
      [labels.fence]: String(assignment.fence),
      ...expiresIn(compileMs + assignment.limits.timeout_sec * 1_000),
    })
    return { ...place, ...opened, facts, found }
  }

  async #runIn(run: Run, { box, ...place }: Prepared): Promise<BoxedEnd> {
    try {
      return await runInBox(run, box, bundleOf(run, place))
    } catch (error) {
      if (error instanceof BoxFailed && error.errno === constants.errno.ENOSPC)
        throw new Rejected(
          `its files do not fit into disk_limit_mb or half of mem_limit_mb (${error.message})`,
        )
      if (!(error instanceof ContainerEnded)) throw error
      if (error.outOfMemory && error.phase === undefined)
        throw new Rejected('mem_limit_mb is too small to take its files in')
      if (!run.signal.aborted && !error.outOfMemory) throw error
      run.exited()
      return killedEnd(error, run.signal.aborted)
    }
  }

  /** Creates and starts a container. */
  async #open(name: string, place: Place, own: Record<string, string>, attempts = 2): Promise<Opened> {
    const boxVolume = await this.#box.name()
    const carried = { [labels.agent]: this.#parts.spoolId, ...own }
    const id = await this.#create(name, containerSpec({ ...place, boxVolume, labels: carried }))
    try {
      return { id, box: await ContainerBox.start(this.#engine, id) }
    } catch (error) {
      if (attempts === 1 || !(await this.#box.isGone(boxVolume))) throw error
      await this.#engine.remove(id)
      return this.#open(name, place, own, attempts - 1)
    }
  }

  /** The name is taken where an answer to this very request was lost: no code has run in that container. */
  async #create(name: string, spec: ReturnType<typeof containerSpec>): Promise<string> {
    try {
      return await this.#engine.create(name, spec)
    } catch (error) {
      if (!answered(error, 409)) throw error
      const own = await this.#engine.containers(`${labels.agent}=${this.#parts.spoolId}`)
      if (!own.some((one) => one.name === name)) throw error
      await this.#engine.remove(name)
      return this.#engine.create(name, spec)
    }
  }

  /** What tools of an image answer, in a container like those of jobs. */
  async #ask(place: Place, commands: readonly (readonly string[])[]): Promise<Answer[]> {
    const name = `errand-ask-${randomUUID()}`
    this.#live.add(name)
    try {
      const limitMs = this.#parts.time.engineAnswerMs
      const { box } = await this.#open(name, place, expiresIn(limitMs))
      const path = directoriesOf(place.image).join(':')
      const env = { ...place.image.env, PATH: path, HOME: workDir, TMPDIR: tmpDir }
      const question = {
        kind: 'question',
        limitMs,
        capBytes: 64 * 1_024,
        killAtCap: false,
        goOn: true,
        env,
      } as const
      const asked = askInBox(box, {
        workDir: { path: workDir, make: false },
        user: place.user,
        files: [],
        stdin: '',
        phases: commands.map((argv) => ({ ...question, argv })),
      })
      return await Promise.race([
        asked,
        tooLate(limitMs, 'the tools of the image did not tell their versions'),
      ])
    } finally {
      await soon(this.#clear(name))
    }
  }

  /** Never throws: what can't be removed now, the reconciler finds. */
  async #clear(name: string): Promise<void> {
    try {
      await this.#engine.remove(name)
    } catch (err) {
      this.#parts.log.warn({ container: name, err }, 'a container cannot be removed now')
    } finally {
      this.#live.delete(name)
    }
  }

  async #removeLeftovers(): Promise<void> {
    const { spoolId, log } = this.#parts
    try {
      await removeLeftovers(this.#engine, spoolId, (name) => this.#live.has(name), log)
    } catch (err) {
      log.debug({ err }, 'the Docker Engine cannot be asked for containers that were left')
    }
  }
}

/** What takes longer goes on by itself: nobody waits for an Engine that does not answer. */
async function soon(act: Promise<void>): Promise<void> {
  await Promise.race([act, sleep(2_000, undefined, { ref: false })])
}

function bundleOf(run: Run, place: Omit<Prepared, 'box'>): Bundle {
  const { assignment, submission } = run
  const { image, found, limits, user } = place
  const program = programOf(submission, runtimes[assignment.runtime])
  const directories = directoriesOf(image)
  const env = {
    ...threadsFor(limits),
    ...image.env,
    ...environmentAt({ interpreter: found.interpreter, home: workDir, tmp: tmpDir, directories }),
  }
  return {
    workDir: { path: workDir, make: false },
    user,
    files: program.files,
    stdin: submission.stdin,
    phases: programPhases({ run, found, program, env }),
  }
}

/** Libraries that make a thread for each core of the host, of which a container's quota leaves less. */
function threadsFor({ nanoCpus }: ContainerLimits): Record<string, string> {
  const threads = String(Math.max(1, Math.ceil(nanoCpus / 1e9)))
  return {
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    GOMAXPROCS: threads,
  }
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

async function tooLate(ms: number, words: string): Promise<never> {
  await sleep(ms, undefined, { ref: false })
  throw new Error(`${words} in ${ms / 1_000} s`)
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
