import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { crashPoint } from '../../crash-point.ts'
import { Lost } from '../backend.ts'
import type { BackendParts } from '../backend.ts'
import { askInBox } from '../box/ask-in-box.ts'
import type { Answer } from '../box/ask-in-box.ts'
import { BoxVolume } from './box-volume.ts'
import { ContainerBox } from './container-box.ts'
import { askingLimits } from './container-limits.ts'
import { containerSpec, tmpDir, workDir } from './container-spec.ts'
import type { ContainerParts } from './container-spec.ts'
import { createAfresh } from './create-afresh.ts'
import type { Engine } from './engine.ts'
import { isAway } from './engine-fault.ts'
import { fillVolume } from './fill-volume.ts'
import type { VolumeContent } from './fill-volume.ts'
import { directoriesOf } from './image-tools.ts'
import { expiresIn, labels } from './labels.ts'
import { soon } from './soon.ts'
import { whileAway } from './while-away.ts'

/** What a container is made for. */
export type Place = Pick<ContainerParts, 'image' | 'limits' | 'user' | 'mounts'>

/** A container whose box waits for its bundle. */
export interface Opened {
  id: string
  box: ContainerBox
}

/**
 * The containers of one agent on an Engine: what it makes bears its mark, and what bears it and is not of a live run is
 * removed, sooner or later.
 */
export class Containers {
  readonly #engine: Engine
  readonly #parts: Pick<BackendParts, 'spoolId' | 'time' | 'log'>
  readonly #box: BoxVolume
  /** Names of those that somebody needs or clears away right now. */
  readonly #live = new Set<string>()

  constructor(engine: Engine, parts: Pick<BackendParts, 'spoolId' | 'time' | 'log'>) {
    this.#engine = engine
    this.#parts = parts
    this.#box = new BoxVolume(engine, parts.spoolId, this.#live)
  }

  /** Creates and starts one. Whatever comes of it, `clear` is to follow. */
  async open(name: string, place: Place, own: Record<string, string>): Promise<Opened> {
    this.#live.add(name)
    const boxVolume = await this.#box.name()
    try {
      return await this.#start(name, place, own, boxVolume)
    } catch (error) {
      if (isAway(error) || (await this.#box.isIntact(boxVolume))) throw error
      await this.#engine.remove(name)
      await this.#box.discard(boxVolume)
      return this.#start(name, place, own, await this.#box.name())
    }
  }

  /** They are somebody's, though this process did not open them. */
  keep(names: readonly string[]): void {
    for (const name of names) this.#live.add(name)
  }

  /**
   * One that an earlier process of this agent opened. Whatever comes of it, `clear` is to follow.
   *
   * @throws {Lost} where it is gone
   */
  async adopt(name: string): Promise<Opened> {
    this.keep([name])
    const { spoolId, time } = this.#parts
    const listed = await whileAway(time.engineBackMs, () =>
      this.#engine.containers(`${labels.agent}=${spoolId}`),
    )
    const found = listed.find((one) => one.name === name)
    if (!found) throw new Lost('the agent died while it ran, and its container is gone')
    return { id: found.id, box: await ContainerBox.adopt(this.#engine, found.id, time.engineBackMs) }
  }

  /** Makes a volume of this agent with a content. */
  async fill(name: string, content: VolumeContent): Promise<void> {
    this.#live.add(name)
    try {
      await fillVolume(this.#engine, name, content)
    } finally {
      this.#live.delete(name)
    }
  }

  /** What commands answer in a container like those of jobs. */
  async ask(
    { image, user }: Pick<Place, 'image' | 'user'>,
    commands: readonly (readonly string[])[],
  ): Promise<Answer[]> {
    const name = `errand-ask-${randomUUID()}`
    const limitMs = this.#parts.time.engineAnswerMs
    try {
      const { box } = await this.open(name, { image, user, limits: askingLimits }, expiresIn(limitMs))
      const env = {
        ...image.env,
        PATH: directoriesOf(image).join(':'),
        HOME: workDir,
        TMPDIR: tmpDir,
      }
      const question = {
        kind: 'question',
        limitMs,
        capBytes: 64 * 1_024,
        killAtCap: false,
        goOn: true,
        env,
      } as const
      const answers = askInBox(box, {
        workDir: { path: workDir, make: false },
        user,
        files: [],
        stdin: '',
        phases: commands.map((argv) => ({ ...question, argv })),
      })
      return await Promise.race([answers, tooLate(limitMs, 'the tools of the image did not answer')])
    } finally {
      await this.clear(name)
    }
  }

  /**
   * Removes one, and never throws: what can't be removed in a moment goes on by itself, or is found later. Nobody waits for
   * an Engine that does not answer.
   */
  async clear(name: string): Promise<void> {
    if (!this.#live.has(name)) return
    await soon(this.#remove(name))
  }

  /**
   * Removes those that are nobody's: of this agent what no live run needs, of any other what should have ended long ago.
   * Never touches what does not bear our label.
   */
  async removeLeftovers(): Promise<void> {
    const { spoolId, log } = this.#parts
    const forgottenSince = Date.now() / 1_000 - slackSec
    const listed = await this.#engine.containers(labels.agent)
    const left = listed.filter(({ name, labels: carried }) => {
      if (carried[labels.agent] === spoolId) return !this.#live.has(name)
      return Number(carried[labels.expiresAt] ?? Infinity) < forgottenSince
    })
    await Promise.all(
      left.map(async ({ id, name }) => {
        // A run may have cleared it away since the list was made.
        if (await this.#engine.remove(id)) log.warn({ container: name }, 'removed a container that was left')
      }),
    )
  }

  /** Removes the volumes that held the box for this agent; to be called when it has no containers. */
  removeVolumes(): Promise<void> {
    return this.#box.remove()
  }

  async #remove(name: string): Promise<void> {
    try {
      await this.#engine.remove(name)
    } catch (err) {
      this.#parts.log.warn({ container: name, err }, 'a container cannot be removed now')
    } finally {
      this.#live.delete(name)
    }
  }

  async #start(name: string, place: Place, own: Record<string, string>, boxVolume: string): Promise<Opened> {
    const carried = { [labels.agent]: this.#parts.spoolId, ...own }
    const id = await createAfresh(this.#engine, name, containerSpec({ ...place, boxVolume, labels: carried }))
    const execution = own[labels.execution]
    if (execution !== undefined) crashPoint('created', { id: execution })
    return { id, box: await ContainerBox.start(this.#engine, id, this.#parts.time.engineBackMs) }
  }
}

/** More than the clocks of two agents differ, or a slow Engine takes to start a container. */
const slackSec = 3_600

async function tooLate(ms: number, words: string): Promise<never> {
  await sleep(ms, undefined, { ref: false })
  throw new Error(`${words} in ${ms / 1_000} s`)
}
