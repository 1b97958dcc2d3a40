import { parseImageReference } from '@errand/shared'
import type {
  AgentPolicy,
  DockerExecutor,
  ImageReference,
  JobLogLine,
  JobProgress,
  JobResult,
} from '@errand/shared'
import { Rejected } from '../backend.ts'
import type { Maintenance } from '../backend.ts'
import { orAborted } from '../or-aborted.ts'
import { freeMbOf, lackOfRoom } from './engine-disk.ts'
import { EngineFault } from './engine-fault.ts'
import type { Engine, EngineFacts, Image } from './engine.ts'
import type { KnownImages } from './known-images.ts'
import { PullProgress } from './pull-progress.ts'
import { registryAuth, withoutAuth } from './registry-auth.ts'
import type { RegistryAuth } from './registry-auth.ts'
import { registryRefusal } from './registry-refusal.ts'
import type { RegistryRefusal } from './registry-refusal.ts'

export interface PullParts {
  engine: Engine
  policy: Pick<AgentPolicy, 'disk'>
  /** Is told of what the Engine did not have under that name before, and removes what was downloaded earlier. */
  images: Pick<KnownImages, 'downloaded' | 'makeRoom'>
  /** Where a test has a disk of its own. */
  freeMb?: typeof freeMbOf
}

export type Brought = Omit<JobResult, 'took_ms'>

/** One pull of one image, and the jobs that wait for it. It ends with the last of them. */
export class ImagePull {
  readonly #parts: PullParts
  readonly #name: string
  readonly #reference: ImageReference
  readonly #auth: RegistryAuth | undefined
  readonly #waiting = new Set<Maintenance>()
  readonly #ending = new AbortController()
  readonly #progress = new PullProgress()
  #told = { phase: '', isSized: false, retries: 0 }
  #noRoom: string | undefined
  #digest: string | undefined
  #brought: Promise<Brought> | undefined

  /** `name` is in full. */
  constructor(parts: PullParts, name: string, auth: DockerExecutor['registry_auth']) {
    this.#parts = parts
    this.#name = name
    this.#reference = parseImageReference(name)!
    this.#auth = auth && registryAuth(this.#reference, auth)
  }

  /** Whether anybody waits for it. When nobody does it is over, or about to be. */
  get isLive(): boolean {
    return this.#waiting.size > 0
  }

  /**
   * The first who waits begins it.
   *
   * @throws {Rejected} what would fail again; anything else may be tried again
   */
  async join(work: Maintenance): Promise<Brought> {
    this.#waiting.add(work)
    try {
      this.#brought ??= this.#pull()
      return await orAborted(this.#brought, work.signal)
    } finally {
      this.#waiting.delete(work)
      if (!this.isLive) this.#ending.abort()
    }
  }

  async #pull(): Promise<Brought> {
    const { engine, images } = this.#parts
    const before = await engine.image(this.#name)
    const facts = await engine.facts()
    const isShort = async (): Promise<boolean> => (await this.#lackOfRoom(facts)) !== undefined
    await images.makeRoom({ sparing: this.#name, isShort })
    await this.#lookForRoom(facts)
    if (this.#noRoom !== undefined) throw new Rejected(this.#noRoom)
    await this.#fetch(facts)
    const image = await engine.image(this.#name)
    if (!image)
      throw new Error(
        `the Docker Engine has pulled ${this.#name}, and does not have it: it was removed at once`,
      )
    const isNew = image.id !== before?.id
    if (isNew) images.downloaded(this.#name, image)
    await images.makeRoom({ sparing: this.#name })
    return { digest: digestOf(image, this.#name, this.#digest), bytes: image.bytes, already_there: !isNew }
  }

  async #fetch(facts: EngineFacts): Promise<void> {
    const watch = setInterval(() => {
      this.#tell()
      void this.#lookForRoom(facts)
    }, tellEveryMs)
    try {
      this.#tell()
      for await (const told of this.#parts.engine.pull(this.#reference, this.#auth, this.#ending.signal)) {
        this.#digest ??= /^Digest: (.+)$/.exec(told.status)?.[1]
        this.#progress.take(told, performance.now())
        const { isSized } = this.#told
        this.#tell()
        if (isSized !== this.#told.isSized) void this.#lookForRoom(facts)
      }
    } catch (error) {
      if (this.#noRoom !== undefined) throw new Rejected(this.#noRoom)
      throw error instanceof EngineFault ? this.#explained(error) : error
    } finally {
      clearInterval(watch)
    }
  }

  /** What is still to come counts as soon as all of it is known. Where there is no room for it, the pull ends. */
  async #lookForRoom(facts: EngineFacts): Promise<void> {
    this.#noRoom ??= await this.#lackOfRoom(facts)
    if (this.#noRoom !== undefined) this.#ending.abort()
  }

  async #lackOfRoom(facts: EngineFacts): Promise<string | undefined> {
    const { engine, policy, freeMb = freeMbOf } = this.#parts
    const free = await freeMb(engine, facts)
    const { bytes_done: done, bytes_total: total } = this.#progress.at(performance.now())
    const bytesToCome = total === null ? 0 : total - done
    return lackOfRoom(free, facts, { minFreeMb: policy.disk.min_free_mb, bytesToCome })
  }

  /** Tells all who wait how far it is, and their logs what is new in that. */
  #tell(): void {
    const progress = this.#progress.at(performance.now())
    for (const work of this.#waiting) work.progress(progress)
    const { phase, bytes_total: total } = progress
    const { layers, retries } = this.#progress
    const before = this.#told
    this.#told = { phase, isSized: before.isSized || total !== null, retries }
    if (phase !== before.phase) this.#say('info', phases[phase])
    if (phase !== 'done' && total !== null && !before.isSized)
      this.#say(
        'info',
        `layers to fetch: ${layers.toFetch}, of ${mb(total)} in all; there already: ${layers.there}`,
      )
    if (retries > before.retries) this.#say('warn', 'a layer did not come whole: the Engine fetches it again')
  }

  #say(level: JobLogLine['level'], message: string): void {
    for (const work of this.#waiting) work.log(level, message)
  }

  /** Nothing of the credentials goes on, nor the cause: a registry may repeat them in its words. */
  #explained(fault: EngineFault): Error {
    const auth = this.#auth
    const clean = (text: string): string => (auth ? withoutAuth(text, auth) : text)
    const refusal = registryRefusal(fault)
    if (refusal !== undefined)
      return new Rejected(`${this.#refusals()[refusal]}: ${clean(fault.said ?? fault.message)}`)
    return auth ? new Error(clean(fault.message)) : fault
  }

  #refusals(): Record<RegistryRefusal, string> {
    const [auth, registry] = [this.#auth, `the registry ${this.#reference.domain}`]
    const credentials = auth
      ? "refuses the executor's registry_auth"
      : 'asks for credentials, and the executor has no registry_auth'
    return {
      absent: `${registry} does not have ${this.#name}, or not for ${auth ? 'this' : 'an executor without'} registry_auth`,
      credentials: `${registry} ${credentials}`,
      'no room': 'there is no room for the image where the Engine keeps images',
    }
  }
}

const phases: Record<JobProgress['phase'], string> = {
  resolving: 'asking the registry',
  downloading: 'downloading',
  extracting: 'all layers are fetched; unpacking',
  installing: '',
  done: 'the Engine has it',
}

/** The registry's, of the repository that `name` names; null where it was never pulled from there. `told` is of the last pull. */
export function digestOf({ digests }: Image, name: string, told?: string): string | null {
  const { domain, path, digest: asked } = parseImageReference(name)!
  const known = digests
    .map(parseImageReference)
    .filter((one) => one?.domain === domain && one.path === path)
    .map((one) => one?.digest)
  return [asked, told, ...known].find((digest) => digest !== undefined && known.includes(digest)) ?? null
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** Whatever the Engine tells: so that slowness is seen. */
const tellEveryMs = 1_000
