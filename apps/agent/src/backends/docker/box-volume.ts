import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { boxBinary } from '@errand/box'
import type { Engine } from './engine.ts'
import { answered } from './engine-fault.ts'
import { fillVolume } from './fill-volume.ts'
import { labels } from './labels.ts'
import { singleFileTar } from './single-entry-tar.ts'

/** Where containers find the box. */
export const boxDir = '/errand'
export const boxPath = `${boxDir}/box`

/**
 * The box on an Engine, which may be another machine's. The volume is this process's own, so that none is ever used that
 * somebody else, or somebody who died, filled half.
 */
export class BoxVolume {
  readonly #engine: Engine
  readonly #mark: string
  readonly #live: Set<string>
  #name: Promise<string> | undefined

  /** `live` has the names of the containers that are needed right now. */
  constructor(engine: Engine, mark: string, live: Set<string>) {
    this.#engine = engine
    this.#mark = mark
    this.#live = live
  }

  /** Its name; filled at the first call. */
  name(): Promise<string> {
    this.#name ??= this.#fill().catch((error) => {
      this.#name = undefined
      throw error
    })
    return this.#name
  }

  /**
   * Whether the volume of that name is the one that was filled: `docker volume prune` takes what no container uses, and the
   * Engine makes an empty one of that name, without labels, for the next container.
   */
  async isIntact(name: string): Promise<boolean> {
    return (await this.#engine.volume(name))?.[labels.box] !== undefined
  }

  /** Removes one that is not intact; the next `name` is another's. */
  async discard(name: string): Promise<void> {
    if ((await this.#name) === name) this.#name = undefined
    // The last whose container has it removes it.
    await this.#engine.removeVolume(name).catch((error) => {
      if (!answered(error, 409)) throw error
    })
  }

  /** Those of all processes of this agent, when no container uses them, and the images that they were filled from. */
  async remove(): Promise<void> {
    this.#name = undefined
    const label = `${labels.agent}=${this.#mark}`
    const names = await this.#engine.volumes(label, labels.box)
    await Promise.all(
      names.map((name) =>
        this.#engine.removeVolume(name).catch((error: unknown) => {
          // A container of a run that was adopted has it: the next process removes it.
          if (!answered(error, 409)) throw error
        }),
      ),
    )
    const images = await this.#engine.images(label)
    await Promise.all(images.map((id) => this.#engine.removeImage(id)))
  }

  async #fill(): Promise<string> {
    const engine = this.#engine
    const { arch } = await engine.facts()
    const content = await readFile(boxBinary(arch))
    const sha = createHash('sha256').update(content).digest('hex')
    const name = `errand-box-${sha.slice(0, 12)}-${randomBytes(4).toString('hex')}`
    this.#live.add(name)
    try {
      await fillVolume(engine, name, {
        tar: singleFileTar(boxPath.slice(1), content),
        target: boxDir,
        labels: { [labels.agent]: this.#mark, [labels.box]: sha },
      })
    } finally {
      this.#live.delete(name)
    }
    return name
  }
}
