import { runtimes } from '@errand/shared'
import type { RuntimeName } from '@errand/shared'
import type { Answer } from '../box/ask-in-box.ts'
import { candidatesOf, recognize, searchPath } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import type { Place } from './containers.ts'
import type { Image } from './engine.ts'

export type Commands = readonly (readonly string[])[]

/** The folders of an image in which its tools are. */
export function directoriesOf({ env }: Image): readonly string[] {
  const given = (env['PATH'] ?? '').split(':').filter((path) => path.startsWith('/'))
  return given.length > 0 ? [...new Set(given)] : searchPath
}

/** What `findRuntime` finds on a host, in an image: every tool that may be it is asked at once. */
export async function findInImage(
  image: Image,
  name: RuntimeName,
  interpreter: string | undefined,
  ask: (commands: Commands) => Promise<Answer[]>,
): Promise<FoundRuntime | undefined> {
  const candidates = candidatesOf(name, interpreter, directoriesOf(image))
  const launchers = [...new Set(candidates.flatMap((one) => one.launchers))]
  const answers = await ask([
    ...candidates.map(({ tool }) => [tool, ...runtimes[name].version.args]),
    ...launchers.map((path) => [path, '--version']),
  ])
  const isThere = (launcher: string): boolean =>
    answers[candidates.length + launchers.indexOf(launcher)]?.notExecuted === null
  for (const [index, { tool, launchers: near }] of candidates.entries()) {
    const answer = answers[index]
    const launcher = near.find(isThere)
    if (answer?.exitCode !== 0 || (runtimes[name].launcher !== undefined && launcher === undefined)) continue
    const printed = answer.stdout + answer.stderr
    const found = recognize(name, { interpreter: tool, launcher }, printed, interpreter !== undefined)
    if (found) return found
  }
  return undefined
}

/** `findInImage`, asked once for each image, runtime and interpreter, and again while it finds nothing. */
export class ImageTools {
  readonly #ask: (place: Place, commands: Commands) => Promise<Answer[]>
  readonly #known = new Map<string, Promise<FoundRuntime | undefined>>()

  constructor(ask: (place: Place, commands: Commands) => Promise<Answer[]>) {
    this.#ask = ask
  }

  async find(
    place: Place,
    name: RuntimeName,
    interpreter: string | undefined,
  ): Promise<FoundRuntime | undefined> {
    const key = JSON.stringify([place.image.id, name, interpreter])
    const known =
      this.#known.get(key) ??
      findInImage(place.image, name, interpreter, (commands) => this.#ask(place, commands))
    this.#known.set(key, known)
    try {
      const found = await known
      if (!found) this.#known.delete(key)
      return found
    } catch (error) {
      this.#known.delete(key)
      throw error
    }
  }
}
