import type { AgentStock } from '@errand/shared'
import type { Backend } from './backends/backend.ts'

/** Tells the API what lies on this host: at each connect, and after changes, of which many in a row are told once. */
export class StockReport {
  readonly #backends: readonly Backend[]
  readonly #everyMs: number
  #send: ((stock: AgentStock) => void) | undefined
  #waiting = false
  /** One after the other: what was found out earlier is told earlier. */
  #told = Promise.resolve()

  constructor(backends: readonly Backend[], everyMs: number) {
    this.#backends = backends
    this.#everyMs = everyMs
  }

  attach(send: (stock: AgentStock) => void): void {
    this.#send = send
    this.changed()
  }

  detach(): void {
    this.#send = undefined
  }

  changed(): void {
    if (this.#waiting) return
    this.#waiting = true
    setTimeout(() => {
      this.#waiting = false
      this.#told = this.#told.then(() => this.#tell())
    }, this.#everyMs).unref()
  }

  async #tell(): Promise<void> {
    if (!this.#send) return
    const all = await Promise.all(this.#backends.map(async (one) => one.stock?.()))
    this.#send?.({
      disk: all.flatMap((one) => one?.disk ?? []).slice(0, 8),
      images: all.flatMap((one) => one?.images ?? []).slice(0, 200),
      sets: all.flatMap((one) => one?.sets ?? []).slice(0, 200),
    })
  }
}
