import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Something that Errand brought, such as an image or a dependency set. */
export interface Entry<Facts> {
  readonly key: string
  readonly bytes: number
  /** Unix milliseconds. */
  readonly lastUsedAt: number
  readonly inUse: boolean
  readonly facts: Facts
}

interface Kept<Facts> {
  bytes: number
  lastUsedAt: number
  facts: Facts
}

/**
 * What was brought to one place, how large it is and when it was last used: kept in a file, so that a later process
 * knows what is Errand's own. Of the times of use the last second may be lost with the process. A file that can't be read
 * is as none: then what is there is not known to be ours, and stays.
 */
export class Ledger<Facts> {
  readonly #path: string
  readonly #now: () => number
  readonly #changed: () => void
  readonly #kept: Map<string, Kept<Facts>>
  readonly #uses = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(path: string, now: () => number, changed: () => void = () => {}) {
    this.#path = path
    this.#now = now
    this.#changed = changed
    this.#kept = new Map(Object.entries(readKept<Facts>(path)))
  }

  /** Most recently used first. */
  entries(): Entry<Facts>[] {
    return [...this.#kept.keys()].map((key) => this.get(key)!).toSorted((a, b) => b.lastUsedAt - a.lastUsedAt)
  }

  get(key: string): Entry<Facts> | undefined {
    const kept = this.#kept.get(key)
    return kept && { key, ...kept, inUse: this.#uses.has(key) }
  }

  /** It was brought, or brought anew. On the disk before this returns: a crash leaves nothing that nobody knows to be ours. */
  put(
    key: string,
    { bytes, facts, lastUsedAt = this.#now() }: { bytes: number; facts: Facts; lastUsedAt?: number },
  ): void {
    this.#kept.set(key, { bytes, facts, lastUsedAt })
    this.write()
    this.#changed()
  }

  /** In use until what is returned is called, which may happen more than once. Also of what was not brought. */
  use(key: string): () => void {
    const touch = (): void => {
      const kept = this.#kept.get(key)
      if (!kept) return
      kept.lastUsedAt = this.#now()
      this.#writeSoon()
    }
    this.#uses.set(key, (this.#uses.get(key) ?? 0) + 1)
    touch()
    let ended = false
    return () => {
      if (ended) return
      ended = true
      const left = this.#uses.get(key)! - 1
      if (left === 0) this.#uses.delete(key)
      else this.#uses.set(key, left)
      touch()
    }
  }

  forget(key: string): void {
    if (!this.#kept.delete(key)) return
    this.write()
    this.#changed()
  }

  /** Nothing is written afterwards. */
  close(): void {
    if (this.#timer) this.#writeOrNot()
    this.#closed = true
  }

  /** Now, whole or not at all. */
  write(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
    writeFileSync(`${this.#path}.new`, JSON.stringify(Object.fromEntries(this.#kept)), { mode: 0o600 })
    renameSync(`${this.#path}.new`, this.#path)
  }

  #writeSoon(): void {
    if (this.#closed) return
    this.#timer ??= setTimeout(() => {
      this.#writeOrNot()
      this.#changed()
    }, 1_000).unref()
  }

  #writeOrNot(): void {
    try {
      this.write()
    } catch {
      // A full disk: the next use tries again.
    }
  }
}

function readKept<Facts>(path: string): Record<string, Kept<Facts>> {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, Kept<Facts>>
  } catch {
    return {}
  }
}
