import type { JobProgress } from '@errand/shared'

/** How often it is told, and over what time its speed is measured. */
const everyMs = 500
const speedOverMs = 4_000
/** Without a byte for so long, packages are no longer fetched but installed. */
const stillMs = 1_500

/**
 * How far an installation is, told twice a second until it ends. Nobody knows beforehand how much there will be to fetch:
 * its dependencies' own are found on the way.
 */
export class InstallProgress {
  readonly #tell: (progress: JobProgress) => void
  readonly #now: () => number
  readonly #timer: NodeJS.Timeout
  #bytes = 0
  #cameAt: number
  /** What had come by when, of the time over which speed is measured. */
  #before: { at: number; bytes: number }[] = []
  #begun = false

  /** @param now monotonic, milliseconds */
  constructor(tell: (progress: JobProgress) => void, now: () => number = () => performance.now()) {
    this.#tell = tell
    this.#now = now
    this.#cameAt = now()
    this.#timer = setInterval(() => this.#say(), everyMs).unref()
    this.#say()
  }

  /** So many more have come. */
  fetched(bytes: number): void {
    this.#bytes += bytes
    this.#cameAt = this.#now()
  }

  /** Its steps run, and what they fetch cannot be seen from here. */
  unseen(): void {
    this.#begun = true
  }

  done(): void {
    this.end()
    const bytes = this.#bytes
    this.#tell({ phase: 'done', bytes_done: bytes, bytes_total: bytes, percent: 100, bytes_per_sec: null })
  }

  /** Says no more. */
  end(): void {
    clearInterval(this.#timer)
  }

  #say(): void {
    const at = this.#now()
    this.#before = [...this.#before.filter((one) => at - one.at <= speedOverMs), { at, bytes: this.#bytes }]
    const { at: since, bytes: first } = this.#before[0]!
    const speed = at > since ? ((this.#bytes - first) / (at - since)) * 1_000 : null
    const still = at - this.#cameAt >= stillMs
    const phase =
      this.#bytes === 0 ? (this.#begun ? 'installing' : 'resolving') : still ? 'installing' : 'downloading'
    this.#tell({ phase, bytes_done: this.#bytes, bytes_total: null, percent: null, bytes_per_sec: speed })
  }
}
