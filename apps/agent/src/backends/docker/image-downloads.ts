import { createHash } from 'node:crypto'
import { fullImageName } from '@errand/shared'
import type { Assignment, DockerExecutor, JobResult } from '@errand/shared'
import { Rejected } from '../backend.ts'
import type { Maintenance } from '../backend.ts'
import { orAborted } from '../or-aborted.ts'
import { digestOf, ImagePull } from './image-pull.ts'
import type { Brought, PullParts } from './image-pull.ts'
import { refuseWhatIsToCome } from './refusals.ts'

export interface DownloadParts extends PullParts {
  /** The API's clock, Unix milliseconds. */
  now: () => number
}

/** The image downloads of one agent: one pull at a time for an image and its credentials, however many jobs ask for it. */
export class ImageDownloads {
  readonly #parts: DownloadParts
  readonly #underWay = new Map<string, ImagePull>()
  /** When the last one ended well, by the API's clock. After a restart none has. */
  readonly #endedAt = new Map<string, number>()

  constructor(parts: DownloadParts) {
    this.#parts = parts
  }

  /** As `Backend.download`. */
  async download(work: Maintenance): Promise<JobResult> {
    const began = performance.now()
    const settings = work.assignment.executor.settings as DockerExecutor
    refuseWhatIsToCome(settings)
    if (settings.pull_policy === 'never')
      throw new Rejected(
        `pull_policy is never: the image ${settings.image} is brought to the agent by other means`,
      )
    work.starting()
    const brought = (await this.#found(work, settings)) ?? (await this.#pulled(work, settings))
    return { ...brought, took_ms: performance.now() - began }
  }

  /** Whether the executor's image was downloaded since the job was submitted: then `pull_policy: always` is kept. */
  isFresh({
    executor,
    submitted_at_ms: submittedAt,
  }: Pick<Assignment, 'executor' | 'submitted_at_ms'>): boolean {
    const endedAt = this.#endedAt.get(keyOf(executor.settings as DockerExecutor))
    return endedAt !== undefined && endedAt >= submittedAt
  }

  /** Under `missing`, what is there is what is meant. */
  async #found(
    { signal, log }: Maintenance,
    { image, pull_policy: policy }: DockerExecutor,
  ): Promise<Brought | undefined> {
    if (policy === 'always') return undefined
    const name = fullImageName(image)!
    const found = await orAborted(this.#parts.engine.image(name), signal)
    if (!found) return undefined
    log('info', `${name} was there already`)
    return { digest: digestOf(found, name), bytes: found.bytes, already_there: true }
  }

  async #pulled(work: Maintenance, settings: DockerExecutor): Promise<Brought> {
    const key = keyOf(settings)
    const name = fullImageName(settings.image)!
    let pull = this.#underWay.get(key)
    if (pull?.isLive) work.log('info', `another job downloads ${name} already: waiting for that`)
    else {
      work.log('info', `downloading ${name}`)
      pull = new ImagePull(this.#parts, name, settings.registry_auth)
      this.#underWay.set(key, pull)
    }
    try {
      const brought = await pull.join(work)
      this.#remember(key)
      return brought
    } finally {
      if (!pull.isLive && this.#underWay.get(key) === pull) this.#underWay.delete(key)
    }
  }

  #remember(key: string): void {
    this.#endedAt.delete(key)
    this.#endedAt.set(key, this.#parts.now())
    const [oldest] = this.#endedAt.keys()
    if (this.#endedAt.size > mostRemembered) this.#endedAt.delete(oldest!)
  }
}

/** What one may pull another may not: by name and credentials. */
function keyOf({ image, registry_auth: auth }: DockerExecutor): string {
  const { username, password } = auth ?? {}
  const given = JSON.stringify([fullImageName(image), username, password])
  return createHash('sha256').update(given).digest('hex')
}

const mostRemembered = 1_000
