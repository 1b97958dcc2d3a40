import { resolve } from 'node:path'
import type { LoggingConfig } from '@errand/shared/logging-config'
import { pino } from 'pino'
import type { Level, Logger, LoggerOptions } from 'pino'
import { ConsoleSink } from './console-sink.ts'
import type { Console } from './console-sink.ts'
import { describeError } from './describe-error.ts'
import { RotatingFile } from './rotating-file.ts'
import { safeLine } from './safe-line.ts'
import { completeSections } from './sections.ts'
import type { CompleteSection } from './sections.ts'

export interface Logging {
  readonly main: Logger
  readonly job: Logger
  readonly codeExecutor: Logger
  /** Writes out what waits and closes the files; what is logged later is lost. */
  close(): void
}

export interface LoggingOptions {
  /** What relative `file` paths start from. */
  baseDir: string
  console?: Console
  env?: NodeJS.ProcessEnv
}

/**
 * The loggers of the sections of `config.yaml`'s `logging`. Callers put data in the first argument, an object
 * with `job_id`, `execution_id`, `agent_id` where they apply, and a constant text in the second.
 *
 * No secret, code, input or output passes (`safe-line.ts`, `describe-error.ts`), nor any control character,
 * but a message text is written as it is: no data belongs there. Sections that name one file share it, with
 * the limits of the first of `main`, `job`, `code_executor` that does.
 */
export function openLogging(config: LoggingConfig, options: LoggingOptions): Logging {
  const { baseDir, console = process.stderr, env = process.env } = options
  const consoleSink = new ConsoleSink(console, env)
  const files = new Map<string, RotatingFile>()

  const fileOf = (section: CompleteSection): RotatingFile => {
    const path = resolve(baseDir, section.file)
    const file = files.get(path) ?? openFile(path, section, consoleSink)
    files.set(path, file)
    return file
  }
  const open = (name: string, section: CompleteSection): Logger => {
    const sinks = [
      { level: section.console_level, sink: () => consoleSink },
      { level: section.file_level, sink: () => fileOf(section) },
    ].flatMap(({ level, sink }) => (level === 'silent' ? [] : [{ level, stream: sink() }]))
    const level = sinks.map((each) => each.level).toSorted(byWeight)[0] ?? 'silent'
    return pino({ ...pinoOptions, name, level }, pino.multistream(sinks))
  }

  const sections = completeSections(config)
  const flush = (): void => files.forEach((file) => file.flushSync())
  process.on('exit', flush)
  return {
    main: open('main', sections.main),
    job: open('job', sections.job),
    codeExecutor: open('code_executor', sections.code_executor),
    close: () => {
      process.off('exit', flush)
      files.forEach((file) => file.close())
      consoleSink.close()
    },
  }
}

function openFile(path: string, section: CompleteSection, console: ConsoleSink): RotatingFile {
  return new RotatingFile({
    path,
    maxBytes: section.max_size_mb * 1024 * 1024,
    maxBackups: section.max_backups,
    maxAgeMs: section.max_age_days * 24 * 60 * 60 * 1000,
    report: (text) => console.report(text),
  })
}

function byWeight(a: Level, b: Level): number {
  return pino.levels.values[a]! - pino.levels.values[b]!
}

const pinoOptions: LoggerOptions = {
  serializers: { err: described },
  hooks: {
    // Not pino's `redact`: 16 keys at three depths cost 22 µs a line, and miss lists and deeper levels.
    streamWrite: safeLine,
    logMethod(args, method) {
      const [first, ...rest] = args as unknown[]
      const texts = rest.map(withoutObjects)
      const log: (...values: unknown[]) => void = method.bind(this)
      if (Error.isError(first))
        log({ err: first }, texts[0] ?? describeError(first).message, ...texts.slice(1))
      else log(withDescribedErrors(first), ...texts)
    },
  },
}

function withDescribedErrors(data: unknown): unknown {
  if (typeof data !== 'object' || data === null || !Object.values(data).some((value) => Error.isError(value)))
    return data
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, described(value)]))
}

function described(value: unknown): unknown {
  return Error.isError(value) ? describeError(value) : value
}

/** After the data come texts and numbers: what an object brings into a message, `safeLine` could not take out. */
function withoutObjects(argument: unknown): unknown {
  if (Error.isError(argument)) return describeError(argument).message
  return typeof argument === 'object' && argument !== null ? '[object]' : argument
}
