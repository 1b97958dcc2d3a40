import type { JobProgress } from '@errand/shared'
import type { EngineProgress } from './engine-progress.ts'

/** What there is of one layer. */
interface Layer {
  /** It only rises. */
  step: number
  fetched: number
  /** Null where nobody has said it yet. */
  total: number | null
  /** From 0 to 1. */
  unpacked: number
  isRetrying: boolean
}

const steps = { waiting: 0, downloading: 1, downloaded: 2, extracting: 3, done: 4, there: 5 } as const

/**
 * Adds up what the Engine tells of an image's layers, each by itself, to how far the pull is. All that it tells is taken as it
 * comes: layers twice or unannounced, sizes that are missing, change or are none. Times are monotonic milliseconds.
 */
export class PullProgress {
  readonly #layers = new Map<string, Layer>()
  #hasTooMany = false
  #isDone = false
  #percent: number | null = null
  #retries = 0
  /** Of all that ever came, also what came twice: for the speed. */
  #received = 0
  readonly #moments: { at: number; received: number }[] = []

  /** How often the download of a layer was interrupted, and the Engine tried again. */
  get retries(): number {
    return this.#retries
  }

  /** How many layers were there before, and how many are to be fetched. */
  get layers(): { there: number; toFetch: number } {
    const toFetch = this.#toFetch().length
    return { there: this.#layers.size - toFetch, toFetch }
  }

  take(told: EngineProgress, now: number): void {
    if (isLastOfPull(told)) this.#isDone = true
    const step = stepOf(told.status)
    if (step === undefined || told.id === undefined) return
    const layer = this.#layerOf(told.id)
    if (!layer) return
    const before = layer.fetched
    this.#advance(layer, step, told)
    this.#received += Math.max(0, layer.fetched - before)
    this.#remember(now)
  }

  at(now: number): JobProgress {
    this.#remember(now)
    const layers = this.#toFetch()
    const done = sum(layers, ({ fetched }) => fetched)
    const total = this.#isDone ? done : this.#totalOf(layers)
    this.#percent = this.#percentOf(layers, done, total)
    const phase = this.#phaseOf(layers)
    return {
      phase,
      bytes_done: done,
      bytes_total: total,
      percent: this.#percent,
      bytes_per_sec: phase === 'downloading' ? this.#speedAt(now) : null,
    }
  }

  #toFetch(): Layer[] {
    return [...this.#layers.values()].filter(({ step }) => step !== steps.there)
  }

  #layerOf(id: string): Layer | undefined {
    const known = this.#layers.get(id)
    if (known) return known
    if (this.#layers.size === mostLayers) {
      this.#hasTooMany = true
      return undefined
    }
    const layer = { step: steps.waiting, fetched: 0, total: null, unpacked: 0, isRetrying: false }
    this.#layers.set(id, layer)
    return layer
  }

  #advance(layer: Layer, step: Step, { current, total }: EngineProgress): void {
    if (step === 'retrying' && !layer.isRetrying) this.#retries += 1
    layer.isRetrying = step === 'retrying'
    // What has come of it counts, whatever is said afterwards.
    if (step === 'there' && layer.step > steps.waiting) return
    if (step === 'downloading' && layer.step > steps.downloading) return
    const told = sizeOf(total)
    if (step === 'downloading') {
      layer.total = Math.max(layer.total ?? 0, told ?? 0) || null
      // A download that goes on after an interruption is told as what was left of it then.
      const before = (layer.total ?? 0) - (told ?? layer.total ?? 0)
      layer.fetched = before + (sizeOf(current) ?? 0)
    } else if (step !== 'waiting' && step !== 'retrying') {
      layer.total ??= told ?? null
      layer.fetched = layer.total ?? layer.fetched
    }
    layer.fetched = Math.min(layer.fetched, layer.total ?? Infinity)
    if (step === 'extracting') layer.unpacked = Math.max(layer.unpacked, partOf(current, total))
    if (step === 'done') layer.unpacked = 1
    layer.step = Math.max(layer.step, stepsTold[step])
  }

  /** Null until each layer has started, or is known. */
  #totalOf(layers: readonly Layer[]): number | null {
    const isKnown = ({ total, step }: Layer): boolean => total !== null || step >= steps.downloaded
    if (layers.length === 0 || this.#hasTooMany || !layers.every(isKnown)) return null
    return sum(layers, ({ total, fetched }) => total ?? fetched)
  }

  /** Half of it is fetching and half unpacking, each layer by its size. */
  #percentOf(layers: readonly Layer[], done: number, total: number | null): number | null {
    if (this.#isDone) return 100
    if (total === null) return this.#percent
    const unpacked = sum(layers, (layer) => layer.unpacked * (layer.total ?? layer.fetched))
    const percent = total === 0 ? 0 : (50 * (done + unpacked)) / total
    return Math.max(this.#percent ?? 0, Math.min(99.9, Math.floor(percent * 10) / 10))
  }

  #phaseOf(layers: readonly Layer[]): JobProgress['phase'] {
    if (this.#isDone) return 'done'
    if (layers.length === 0) return 'resolving'
    return layers.every(({ step }) => step >= steps.downloaded) ? 'extracting' : 'downloading'
  }

  /** Over the last seconds; null until there is enough to tell. */
  #speedAt(now: number): number | null {
    const since = this.#moments[0]!
    const ms = now - since.at
    return ms < leastWindowMs ? null : Math.round(((this.#received - since.received) / ms) * 1_000)
  }

  #remember(now: number): void {
    while (this.#moments.length > 1 && this.#moments[1]!.at <= now - windowMs) this.#moments.shift()
    const last = this.#moments.at(-1)
    if (!last || now - last.at >= momentMs) this.#moments.push({ at: now, received: this.#received })
  }
}

/** Whether the Engine says with this that the image is there. It comes after all else, and where nothing went wrong. */
export function isLastOfPull({ id, status }: EngineProgress): boolean {
  return id === undefined && status.startsWith('Status: ')
}

type Step = keyof typeof stepsTold

/** What they mean, as far as they raise a layer. A checksum that is verified may prove wrong: then it is fetched again. */
const stepsTold = {
  waiting: steps.waiting,
  retrying: steps.waiting,
  downloading: steps.downloading,
  verifying: steps.downloading,
  downloaded: steps.downloaded,
  extracting: steps.extracting,
  done: steps.done,
  there: steps.there,
} as const

/** The Engine's words for them, which are the only sign there is; undefined for what is no step of a layer. */
function stepOf(status: string): Step | undefined {
  return status.startsWith('Retrying in ') ? 'retrying' : words.get(status)
}

const words = new Map<string, Step>([
  ['Pulling fs layer', 'waiting'],
  ['Waiting', 'waiting'],
  ['Downloading', 'downloading'],
  ['Verifying Checksum', 'verifying'],
  ['Download complete', 'downloaded'],
  ['Extracting', 'extracting'],
  ['Pull complete', 'done'],
  ['Already exists', 'there'],
])

/** Undefined where it is no size. */
function sizeOf(bytes: number | undefined): number | undefined {
  return bytes !== undefined && bytes >= 1 && bytes < Infinity
    ? Math.min(Math.floor(bytes), mostBytes)
    : undefined
}

function partOf(current: number | undefined, total: number | undefined): number {
  const [part, whole] = [sizeOf(current), sizeOf(total)]
  return part === undefined || whole === undefined ? 0 : Math.min(1, part / whole)
}

function sum<T>(all: readonly T[], value: (one: T) => number): number {
  return all.reduce((before, one) => before + value(one), 0)
}

/** Images have at most 127. */
const mostLayers = 1_000
/** Of a layer: 4 TiB, so that all together are still whole numbers. */
const mostBytes = 2 ** 42
const windowMs = 5_000
const leastWindowMs = 500
/** What comes closer together counts as one. */
const momentMs = 100
