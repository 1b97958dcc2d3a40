import { join } from 'node:path'
import type { AgentPolicy, AgentStock } from '@errand/shared'
import type { Log } from '../../log.ts'
import { Ledger } from '../ledger/ledger.ts'
import { surplus } from '../ledger/surplus.ts'
import type { Engine, Image } from './engine.ts'
import { answered } from './engine-fault.ts'

interface ImageFacts {
  id: string
  /** By Errand, and not there before. */
  downloaded: boolean
}

export interface KnownImagesParts {
  engine: Pick<Engine, 'image' | 'removeImage'>
  agentDir: string
  disk: AgentPolicy['disk']
  now: () => number
  changed: () => void
  log: Log
}

/**
 * The images that executions use, by their full names: which of them Errand downloaded, and when each was last used. Only
 * what it downloaded itself it ever removes, and nothing that is in use.
 */
export class KnownImages {
  readonly #parts: KnownImagesParts
  readonly #ledger: Ledger<ImageFacts>
  readonly #removals = new Map<string, Promise<void>>()

  constructor(parts: KnownImagesParts) {
    this.#parts = parts
    const path = join(parts.agentDir, 'docker', 'images.json')
    this.#ledger = new Ledger(path, parts.now, parts.changed)
  }

  /**
   * From now on it is not removed, until what is returned is called. Settles when a removal that had begun is over: then it
   * is looked for anew.
   */
  async use(name: string): Promise<() => void> {
    const end = this.#ledger.use(name)
    await this.#removals.get(name)
    return end
  }

  /** It is there, and was used or looked for. */
  seen(name: string, { id, bytes }: Image): void {
    const known = this.#ledger.get(name)
    // Somebody else may have put another in its place, which is not ours then.
    if (known?.facts.id !== id) this.#ledger.put(name, { bytes, facts: { id, downloaded: false } })
  }

  downloaded(name: string, { id, bytes }: Image): void {
    this.#ledger.put(name, { bytes, facts: { id, downloaded: true } })
  }

  /**
   * Removes what was downloaded and is least recently used until the rest is within the budget, and then, where that is
   * asked, one more at a time while `isShort`.
   */
  async makeRoom(given: { sparing?: string; isShort?: () => Promise<boolean> } = {}): Promise<void> {
    const { images_mb } = this.#parts.disk
    const room = { mostBytes: images_mb * 1_048_576, maxAgeMs: Infinity, now: this.#parts.now() }
    for (const { key } of surplus(this.#downloaded(), room, given.sparing)) await this.#remove(key)
    while (await given.isShort?.()) {
      const last = this.#downloaded().findLast(({ key, inUse }) => !inUse && key !== given.sparing)
      if (!last || !(await this.#remove(last.key))) return
    }
  }

  /** After the last use. */
  close(): void {
    this.#ledger.close()
  }

  stock(): AgentStock['images'] {
    return this.#ledger.entries().map(({ key, bytes, lastUsedAt, inUse, facts }) => ({
      name: key,
      id: facts.id,
      bytes,
      last_used_at: new Date(lastUsedAt).toISOString(),
      downloaded: facts.downloaded,
      in_use: inUse,
    }))
  }

  #downloaded() {
    return this.#ledger.entries().filter(({ facts }) => facts.downloaded)
  }

  /** Whether it is gone. */
  #remove(name: string): Promise<boolean> {
    const removed = this.#removeIfOurs(name)
    const over = removed.then(() => void this.#removals.delete(name))
    this.#removals.set(name, over)
    return removed
  }

  async #removeIfOurs(name: string): Promise<boolean> {
    const { engine, log } = this.#parts
    const known = this.#ledger.get(name)
    if (!known || known.inUse) return false
    try {
      const image = await engine.image(name)
      if (image?.id === known.facts.id) {
        await engine.removeImage(name)
        log.info({ image: name, bytes: known.bytes }, 'removed an image that was not used for long')
      }
    } catch (err) {
      // A container that is not ours has it.
      if (!answered(err, 409)) log.warn({ image: name, err }, 'an image cannot be removed now')
      return false
    }
    this.#ledger.forget(name)
    return true
  }
}
