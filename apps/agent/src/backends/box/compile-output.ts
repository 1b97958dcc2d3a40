import { sizeLimits } from '@errand/shared'
import type { CompileReport, Stream } from '@errand/shared'

/** Keeps the beginning of what a compile step prints. */
export class CompileOutput {
  readonly #kept: Record<Stream, Uint8Array[]> = { stdout: [], stderr: [] }
  readonly #room: Record<Stream, number> = {
    stdout: sizeLimits.compileOutput,
    stderr: sizeLimits.compileOutput,
  }
  #truncated = false

  write(stream: Stream, bytes: Uint8Array): void {
    const kept = bytes.subarray(0, this.#room[stream])
    if (kept.length < bytes.length) this.#truncated = true
    if (kept.length === 0) return
    this.#kept[stream].push(kept)
    this.#room[stream] -= kept.length
  }

  /** More was printed than reached us. */
  cut(): void {
    this.#truncated = true
  }

  report(): Pick<CompileReport, 'stdout' | 'stderr' | 'truncated'> {
    const text = (stream: Stream): string => Buffer.concat(this.#kept[stream]).toString('utf8')
    return { stdout: text('stdout'), stderr: text('stderr'), truncated: this.#truncated }
  }
}
