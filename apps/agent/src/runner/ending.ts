import type { Phase } from '@errand/shared'
import type { StopReason } from '../backends/backend.ts'
import type { Monotonic } from '../connection/monotonic.ts'

/**
 * Decides, once, why a run ends (promise 5): the first of cancel, time limit, output limit, lost lease and shutdown
 * counts, unless the program ended by itself before. All of them come through `stop`.
 */
export class Ending {
  readonly #monotonic: Monotonic
  readonly #controller = new AbortController()
  #reason: StopReason | null = null
  /** Came after a phase had ended by itself: counts only if there is a next phase. */
  #late: StopReason | null = null
  #phase: { name: Phase; startedAt: number; timer: NodeJS.Timeout } | undefined
  #endedPhases = 0
  #startedAt: number | undefined
  #endedAt: number | undefined
  #ranMs: number | undefined
  #durationMs = 0
  /** Whether all that it lasted was measured beside it. */
  #measured = true

  constructor(monotonic: Monotonic) {
    this.#monotonic = monotonic
  }

  /** Aborted with the reason. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Why we ended it; null when the program did. */
  get reason(): StopReason | null {
    return this.#reason
  }

  /** Whether any program has been started. */
  get started(): boolean {
    return this.#startedAt !== undefined
  }

  /** Monotonic; undefined where it did not come to that. `durationMs` is all phases, `ranMs` the program's own. */
  get times(): {
    startedAt?: number
    endedAt?: number
    ranMs?: number
    durationMs: number
    measured: boolean
  } {
    return {
      startedAt: this.#startedAt,
      endedAt: this.#endedAt,
      ranMs: this.#ranMs,
      durationMs: this.#durationMs,
      measured: this.#measured,
    }
  }

  stop(reason: StopReason): void {
    if (this.#reason) return
    // What a program wrote it wrote before it ended, even if we read it later.
    const programEnded = this.#phase === undefined && this.#endedPhases > 0
    if (programEnded && reason !== 'output_limit') this.#late ??= reason
    else this.#decide(reason)
  }

  /** Whether another phase may begin; a reason that came late counts now. */
  get goesOn(): boolean {
    if (this.#late) this.#decide(this.#late)
    return this.#reason === null
  }

  /** Begins a phase, or begins it anew: what came before, such as the way of its files to a box, is then not of it. */
  begin(phase: Phase, limitMs: number): void {
    clearTimeout(this.#phase?.timer)
    const startedAt = this.#monotonic()
    if (this.#endedPhases === 0) this.#startedAt = startedAt
    this.#phase = { name: phase, startedAt, timer: setTimeout(() => this.stop('timed_out'), limitMs) }
  }

  /** The phase's main process has ended, `tookMs` after its start where whoever started it has measured that. */
  exited(tookMs?: number): { stopped: StopReason | null; ms: number } {
    const phase = this.#phase
    if (!phase) return { stopped: this.#reason, ms: 0 }
    clearTimeout(phase.timer)
    this.#phase = undefined
    this.#endedPhases += 1
    this.#endedAt = this.#monotonic()
    const ms = tookMs ?? this.#endedAt - phase.startedAt
    this.#measured &&= tookMs !== undefined
    // What we hear of a start comes a moment after it.
    if (this.#endedPhases === 1) this.#startedAt = Math.min(phase.startedAt, this.#endedAt - ms)
    this.#durationMs += ms
    if (phase.name === 'run') this.#ranMs = ms
    return { stopped: this.#reason, ms }
  }

  #decide(reason: StopReason): void {
    if (this.#reason) return
    this.#reason = reason
    this.#controller.abort(reason)
  }
}
