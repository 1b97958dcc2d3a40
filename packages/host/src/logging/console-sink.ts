import type { Writable } from 'node:stream'
import { prettyFactory } from 'pino-pretty'
import { safeLine } from './safe-line.ts'

/** Where log lines for people go: usually `process.stderr`, and a TTY if it has `isTTY`. */
export type Console = Writable & { isTTY?: boolean }

/** Lines that a slow reader has not taken beyond this many bytes are dropped and counted; the heap stays small. */
const waitingLimit = 1024 * 1024

/** Writes JSON lines to the console in a form for people. A console that has gone away is no error. */
export class ConsoleSink {
  readonly #console: Console
  readonly #format: (line: string) => string
  #dropped = 0

  constructor(console: Console, env: NodeJS.ProcessEnv) {
    this.#console = console
    this.#format = prettyFactory({
      colorize: console.isTTY === true && !env['NO_COLOR'],
      ignore: 'pid,hostname',
      translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l',
      singleLine: true,
      // Line breaks in a message would let it forge a line of its own.
      messageFormat: ({ msg }) => (typeof msg === 'string' ? msg.replaceAll('\n', String.raw`\n`) : ''),
    })
    // Without a listener, a reader that goes away (EPIPE) would end this process.
    console.on('error', ignore)
  }

  write(line: string): void {
    this.#send(this.#format(visibleEscapes(line)))
  }

  /** Says something about logging itself, which the logs can't tell. */
  report(msg: string): void {
    this.write(safeLine(JSON.stringify({ level: 40, time: Date.now(), name: 'logging', msg })))
  }

  close(): void {
    this.#console.off('error', ignore)
  }

  #send(text: string): void {
    if (this.#console.destroyed || this.#console.writableLength > waitingLimit) {
      this.#dropped += 1
      return
    }
    if (this.#dropped > 0)
      this.#console.write(`(${this.#dropped} log lines were dropped here: nobody read them)\n`)
    this.#dropped = 0
    this.#console.write(text)
  }
}

function ignore(): void {}

/**
 * Makes the escapes of a JSON text survive its parsing, so that they are shown instead of obeyed. Line feeds
 * and tabs stay what they are: stacks need them.
 */
function visibleEscapes(json: string): string {
  return json.replace(/\\(u[0-9a-f]{4}|.)/gi, (escape, kind: string) =>
    /^[ubfr]/.test(kind) ? `\\${escape}` : escape,
  )
}
