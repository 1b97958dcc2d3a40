import { stripVTControlCharacters } from 'node:util'
import type { Stream } from '@errand/shared'

/** Of one line, in characters; of all, in lines. */
const longestLine = 2_000
const mostLines = 2_000
/** How many of the last may say why it failed, and how long they are together. */
const lastLines = 12
const longestReason = 3_000

interface Half {
  decoder: TextDecoder
  text: string
}

/** What an installer prints, as lines for people: the beginning of it is told, its last lines are kept. */
export class PrintedLines {
  readonly #tell: (stream: Stream, line: string) => void
  readonly #secrets: readonly string[]
  readonly #halves: Record<Stream, Half> = { stdout: half(), stderr: half() }
  readonly #last: Record<Stream, string[]> = { stdout: [], stderr: [] }
  #told = 0

  /** @param secrets what is never told, whatever prints it */
  constructor(tell: (stream: Stream, line: string) => void, secrets: readonly string[] = []) {
    this.#tell = tell
    this.#secrets = secrets
  }

  write(stream: Stream, bytes: Uint8Array): void {
    const { decoder, text } = this.#halves[stream]
    const lines = (text + decoder.decode(bytes, { stream: true })).split(/[\r\n]+/)
    // What never ends is no line.
    this.#halves[stream].text = lines.pop()!.slice(0, 2 * longestLine)
    for (const line of lines) this.#line(stream, line)
  }

  /** Nothing more comes. */
  end(): void {
    for (const stream of ['stdout', 'stderr'] as const) this.#line(stream, this.#halves[stream].text)
  }

  /** The last of what it complained of, else of what it said. */
  get reason(): string {
    const { stdout, stderr } = this.#last
    return (stderr.length > 0 ? stderr : stdout).join('; ').slice(-longestReason).toWellFormed()
  }

  #line(stream: Stream, raw: string): void {
    let line = stripVTControlCharacters(raw)
    for (const secret of this.#secrets) line = line.replaceAll(secret, '***')
    line = line.trim().slice(0, longestLine)
    if (line === '') return
    this.#last[stream] = [...this.#last[stream].slice(1 - lastLines), line]
    this.#told += 1
    if (this.#told <= mostLines) this.#tell(stream, line)
    else if (this.#told === mostLines + 1) this.#tell('stderr', 'it prints more, which is not kept')
  }
}

function half(): Half {
  return { decoder: new TextDecoder(), text: '' }
}
