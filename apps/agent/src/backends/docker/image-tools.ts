import type { RuntimeName } from '@errand/shared'
import type { Answer } from '../box/ask-in-box.ts'
import { findInBox } from '../box/find-in-box.ts'
import type { Commands } from '../box/find-in-box.ts'
import { searchPath } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import type { Place } from './containers.ts'
import type { Image } from './engine.ts'

/** The folders of an image in which its tools are. */
export function directoriesOf({ env }: Image): readonly string[] {
  const given = (env['PATH'] ?? '').split(':').filter((path) => path.startsWith('/'))
  return given.length > 0 ? [...new Set(given)] : searchPath
}

/** What `findInBox` finds, asked once for each image, runtime and interpreter, and again while it finds nothing. */
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
      findInBox(name, interpreter, directoriesOf(place.image), (commands) => this.#ask(place, commands))
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
