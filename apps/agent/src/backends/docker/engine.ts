import type { IncomingMessage } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import type { ImageReference, TimeConstants } from '@errand/shared'
import Docker from 'dockerode'
import { engineAddress } from './engine-address.ts'
import { EngineFault, answered, engineFault, isAway } from './engine-fault.ts'
import { engineProgress } from './engine-progress.ts'
import type { EngineProgress } from './engine-progress.ts'
import { isLastOfPull } from './pull-progress.ts'
import type { RegistryAuth } from './registry-auth.ts'

/** What the Engine says of itself. */
export interface EngineFacts {
  version: string
  /** As `process.arch` names it. */
  arch: string
  cpus: number
  seccomp: boolean
  /** Where it keeps images, on its own host. */
  rootDir: string
  /** Which limits the kernel of its host lets it keep. */
  keeps: { memory: boolean; cpus: boolean; pids: boolean }
}

export interface Image {
  id: string
  env: Record<string, string>
  /** Paths that its maker declared to be volumes. */
  volumes: string[]
  /** As registries know it: `python@sha256:…`, for each repository that it was pulled from. */
  digests: string[]
  bytes: number
}

export interface ContainerState {
  running: boolean
  exitCode: number
  oomKilled: boolean
}

export interface ListedContainer {
  id: string
  /** Without the slash. */
  name: string
  labels: Record<string, string>
}

/** The API that we speak; older Engines speak theirs, from the first that has what we need. */
const newestApi = '1.47'
const oldestApi = '1.40'

/**
 * The Docker Engine, one act a method. Each is answered in time or fails, so that an Engine that hangs holds nobody;
 * all are safe to repeat, and one whose connection is cut is, once: it may have been kept from before the Engine's restart.
 *
 * Every method throws `EngineFault`, or says what is wrong with the environment that names the Engine.
 */
export class Engine {
  readonly #env: NodeJS.ProcessEnv
  readonly #answerMs: number
  readonly #pullSilenceMs: number
  #name = ''
  #connection: Docker | undefined
  #facts: Promise<EngineFacts> | undefined

  constructor(env: NodeJS.ProcessEnv, time: Pick<TimeConstants, 'engineAnswerMs' | 'pullSilenceMs'>) {
    this.#env = env
    this.#answerMs = time.engineAnswerMs
    this.#pullSilenceMs = time.pullSilenceMs
  }

  /** Whether it is this host's; known once it was asked. */
  get isLocal(): boolean {
    return this.#name.startsWith('unix:')
  }

  /** Asked anew once the Engine was away: it may have come back as another. */
  facts(): Promise<EngineFacts> {
    this.#facts ??= this.#askFacts().catch((error) => {
      this.#facts = undefined
      throw error
    })
    return this.#facts
  }

  /** Asked now; those that are known hold until there are others. */
  async factsNow(answerMs = this.#answerMs): Promise<EngineFacts> {
    const facts = await this.#inTime('tell what it can do', answerMs, () => this.#askFacts())
    this.#facts = Promise.resolve(facts)
    return facts
  }

  /** Undefined where it is not there. */
  async image(reference: string): Promise<Image | undefined> {
    const found = await this.#known('look for an image', (abortSignal) =>
      this.#docker.getImage(reference).inspect({ abortSignal } as Docker.ImageInspectOptions),
    )
    return (
      found && {
        id: found.Id,
        env: environmentOf(found.Config?.Env ?? []),
        volumes: Object.keys(found.Config?.Volumes ?? {}),
        digests: found.RepoDigests ?? [],
        bytes: found.Size,
      }
    )
  }

  /** Makes an image of a tar, with a label. */
  async importImage(
    tar: Buffer,
    { repo, tag, label }: Record<'repo' | 'tag' | 'label', string>,
  ): Promise<void> {
    await this.#ask('import the box', async (abortSignal) => {
      const progress = await this.#docker.importImage(tar as unknown as NodeJS.ReadableStream, {
        repo,
        tag,
        changes: `LABEL ${label}`,
        abortSignal,
      })
      for await (const _ of engineProgress(progress as IncomingMessage));
    })
  }

  /**
   * Brings an image from its registry, however long that takes, and tells how far it is. It is there once this has come
   * to its end. When `signal` is aborted, or nobody reads on, the Engine is told so by the end of the connection.
   *
   * @throws {EngineFault} also `silent`, when it has told nothing for `pullSilenceMs`
   */
  async *pull(
    { domain, path, tag, digest }: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<EngineProgress> {
    const act = 'pull an image'
    const query = { _query: { fromImage: `${domain}/${path}`, tag: digest ?? tag }, _body: {} }
    const ask = (abortSignal: AbortSignal): Promise<NodeJS.ReadableStream> => {
      signal.throwIfAborted()
      return this.#docker.createImage(auth, { ...query, abortSignal: AbortSignal.any([abortSignal, signal]) })
    }
    const answer = (await this.#ask(act, ask, { answerMs: this.#pullSilenceMs })) as IncomingMessage
    const impatience = setTimeout(
      () => answer.destroy(this.#silence(act, this.#pullSilenceMs)),
      this.#pullSilenceMs,
    )
    let isWhole = false
    try {
      for await (const told of engineProgress(answer)) {
        impatience.refresh()
        isWhole ||= isLastOfPull(told)
        yield told
      }
      if (!isWhole)
        throw new EngineFault(
          'cut',
          `the Docker Engine at ${this.#name} ended its answer before the pull: it may have ended`,
        )
    } catch (error) {
      const fault = engineFault(error, this.#name, act)
      throw signal.aborted ? fault : this.#noted(fault)
    } finally {
      clearTimeout(impatience)
    }
  }

  /** Ids of the images that carry the label. */
  async images(label: string): Promise<string[]> {
    const listed = await this.#ask('list images', (abortSignal) =>
      this.#docker.listImages({ filters: { label: [label] }, abortSignal }),
    )
    return listed.map(({ Id }) => Id)
  }

  async removeImage(reference: string): Promise<void> {
    await this.#known('remove an image', (abortSignal) =>
      this.#docker.getImage(reference).remove({ abortSignal }),
    )
  }

  /** Its labels; undefined where it is not there. */
  async volume(name: string): Promise<Record<string, string> | undefined> {
    const found = await this.#known('look for a volume', (abortSignal) =>
      this.#docker.getVolume(name).inspect({ abortSignal }),
    )
    return found && (found.Labels ?? {})
  }

  /** Names of the volumes that carry all of the labels. */
  async volumes(...label: string[]): Promise<string[]> {
    const { Volumes } = await this.#ask('list volumes', (abortSignal) =>
      this.#docker.listVolumes({ filters: { label }, abortSignal }),
    )
    return (Volumes ?? []).map(({ Name }) => Name)
  }

  async removeVolume(name: string): Promise<void> {
    await this.#known('remove a volume', (abortSignal) =>
      this.#docker.getVolume(name).remove({ abortSignal }),
    )
  }

  /** Its id. A name that is taken is status 409. */
  async create(name: string, spec: Docker.ContainerCreateOptions): Promise<string> {
    // Else all of it stands in the address as well.
    const split = { _query: { name }, _body: spec } as Docker.ContainerCreateOptions
    const { id } = await this.#ask('create a container', (abortSignal) =>
      this.#docker.createContainer({ ...split, abortSignal }),
    )
    return id
  }

  /** Its three standard streams, both outputs multiplexed. */
  async attach(id: string): Promise<Duplex> {
    const streams = { stream: true, stdin: true, stdout: true, stderr: true, hijack: true }
    // Not again: its standard input is closed with the first stream.
    const attached = await this.#ask(
      'attach to a container',
      (abortSignal) => this.#docker.getContainer(id).attach({ ...streams, abortSignal }),
      { again: false },
    )
    return attached as Duplex
  }

  /** All that a container has said on both outputs, and what it goes on to say while it runs: multiplexed. */
  async log(id: string): Promise<Readable> {
    const asked = { follow: true, stdout: true, stderr: true } as const
    const log = await this.#ask('read the log of a container', (abortSignal) =>
      this.#docker.getContainer(id).logs({ ...asked, abortSignal }),
    )
    return log as Readable
  }

  /** Settles, however late, when a container has ended; one that is yet `to-start` is meant to have ended after that. */
  async exit(
    id: string,
    abortSignal: AbortSignal,
    state: 'to-start' | 'started' = 'to-start',
  ): Promise<void> {
    const condition = state === 'to-start' ? 'next-exit' : 'not-running'
    try {
      await this.#docker.getContainer(id).wait({ condition, abortSignal })
    } catch (error) {
      throw engineFault(error, this.#name, 'wait for a container')
    }
  }

  /** Nothing where it runs already. */
  async start(id: string): Promise<void> {
    const act = this.#ask('start a container', (abortSignal) =>
      this.#docker.getContainer(id).start({ abortSignal }),
    )
    await act.catch(unlessAnswered(304))
  }

  /** Undefined where it is not there. */
  async state(id: string, answerMs: number): Promise<ContainerState | undefined> {
    const found = await this.#known(
      'look at a container',
      (abortSignal) => this.#docker.getContainer(id).inspect({ abortSignal }),
      { answerMs },
    )
    const { Running: running, ExitCode: exitCode, OOMKilled: oomKilled } = found?.State ?? {}
    return found && { running: running!, exitCode: exitCode!, oomKilled: oomKilled! }
  }

  /** Those that carry the label, whatever their state. */
  async containers(label: string): Promise<ListedContainer[]> {
    const listed = await this.#ask('list containers', (abortSignal) =>
      this.#docker.listContainers({ all: true, filters: { label: [label] }, abortSignal }),
    )
    return listed.map(({ Id, Names, Labels }) => ({ id: Id, name: Names[0]?.slice(1) ?? '', labels: Labels }))
  }

  /** SIGKILL to all of it; nothing where it does not run. */
  async kill(id: string, answerMs: number): Promise<void> {
    const act = this.#ask(
      'kill a container',
      (abortSignal) => this.#docker.getContainer(id).kill({ signal: 'SIGKILL', abortSignal }),
      { answerMs },
    )
    await act.catch(unlessAnswered(404, 409))
  }

  /** With all that is of it; false where it is not there, or somebody removes it already. */
  async remove(id: string): Promise<boolean> {
    const act = this.#ask('remove a container', async (abortSignal) => {
      await this.#docker.getContainer(id).remove({ force: true, v: true, abortSignal })
      return true
    })
    return (await act.catch(unlessAnswered(404, 409))) ?? false
  }

  /** Opened by the first call, so that an environment that can't be understood is told to whoever needs the Engine. */
  get #docker(): Docker {
    if (this.#connection) return this.#connection
    const { name, options } = engineAddress(this.#env)
    this.#name = name
    this.#connection = new Docker(options)
    return this.#connection
  }

  async #askFacts(): Promise<EngineFacts> {
    const docker = this.#docker as unknown as Impatient
    // One that speaks no version yet: what is under way keeps its own.
    const stranger = new Docker(engineAddress(this.#env).options) as unknown as Impatient
    const { ApiVersion, MinAPIVersion, Version, Arch } = await this.#inTime(
      'tell its version',
      this.#answerMs,
      (abortSignal) => stranger.version({ abortSignal }),
    )
    if (isBelow(ApiVersion, oldestApi) || isBelow(newestApi, MinAPIVersion))
      throw new EngineFault(
        'answered',
        `the Docker Engine at ${this.#name} (${Version}) speaks its API from ${MinAPIVersion} to ${ApiVersion}, this agent from ${oldestApi} to ${newestApi}`,
      )
    const modem = this.#docker.modem as { version?: string }
    modem.version = `v${isBelow(ApiVersion, newestApi) ? ApiVersion : newestApi}`
    const info = await this.#inTime('tell what it can do', this.#answerMs, (abortSignal) =>
      docker.info({ abortSignal }),
    )
    const security = info.SecurityOptions ?? []
    return {
      version: Version,
      arch: nodeArch[Arch] ?? Arch,
      cpus: info.NCPU,
      rootDir: info.DockerRootDir,
      seccomp: security.some((one) => /^name=seccomp\b(?!.*profile=unconfined)/.test(one)),
      keeps: { memory: info.MemoryLimit, cpus: info.CpuCfsQuota, pids: info.PidsLimit },
    }
  }

  /** One limit for all that it takes. */
  #ask<T>(act: string, call: Call<T>, { answerMs = this.#answerMs, again = true } = {}): Promise<T> {
    return this.#inTime(act, answerMs, async (abortSignal) => {
      await this.facts()
      try {
        return await call(abortSignal)
      } catch (error) {
        const fault = engineFault(error, this.#name, act)
        if (fault.kind !== 'cut' || !again || abortSignal.aborted) throw fault
        this.#facts = undefined
        await this.facts()
        return call(abortSignal)
      }
    })
  }

  /** Undefined in the place of a 404. */
  #known<T>(act: string, call: Call<T>, given?: { answerMs: number }): Promise<T | undefined> {
    return this.#ask(act, call, given).catch(unlessAnswered(404))
  }

  async #inTime<T>(act: string, answerMs: number, call: Call<T>): Promise<T> {
    const impatience = new AbortController()
    const { promise: silence, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      reject(this.#silence(act, answerMs))
      impatience.abort()
    }, answerMs)
    try {
      return await Promise.race([call(impatience.signal), silence])
    } catch (error) {
      throw this.#noted(engineFault(error, this.#name, act))
    } finally {
      clearTimeout(timer)
    }
  }

  #silence(act: string, ms: number): EngineFault {
    return new EngineFault(
      'silent',
      `the Docker Engine at ${this.#name} did not answer in ${ms / 1_000} s when asked to ${act}`,
    )
  }

  #noted(fault: EngineFault): EngineFault {
    // One that hangs goes on as what it was.
    if (isAway(fault) && fault.kind !== 'silent') this.#facts = undefined
    return fault
  }
}

/** Both take it; their types don't say so. */
interface Impatient {
  version(options: { abortSignal: AbortSignal }): Promise<Docker.DockerVersion>
  info(options: { abortSignal: AbortSignal }): Promise<EngineInfo>
}

interface EngineInfo {
  NCPU: number
  DockerRootDir: string
  SecurityOptions?: string[]
  MemoryLimit: boolean
  CpuCfsQuota: boolean
  PidsLimit: boolean
}

type Call<T> = (abortSignal: AbortSignal) => Promise<T>

/** Go's names. */
const nodeArch: Record<string, string> = { amd64: 'x64', arm64: 'arm64' }

function unlessAnswered(...statuses: number[]): (error: unknown) => undefined {
  return (error) => {
    if (statuses.some((status) => answered(error, status))) return undefined
    throw error
  }
}

function isBelow(version: string, other: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number)
  return major < otherMajor || (major === otherMajor && minor < otherMinor)
}

function environmentOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(lines.map((line) => [line.split('=', 1)[0]!, line.slice(line.indexOf('=') + 1)]))
}
