/** How much is written: `silent` is nothing, `trace` is everything. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** One section of `logging` in `config.yaml`. A missing key is `main`'s; one that `main` misses has a default. */
export interface LoggingSectionConfig {
  console_level?: LogLevel
  file_level?: LogLevel
  /** Path of the log file, relative ones from the base directory. */
  file?: string
  /** A file that would grow beyond this many MiB is put aside first. */
  max_size_mb?: number
  /** How many put aside files are kept; 0: any number. */
  max_backups?: number
  /** For how many days put aside files are kept; 0: for ever. */
  max_age_days?: number
}

/** The `logging` section of `config.yaml`. */
export interface LoggingConfig {
  main?: LoggingSectionConfig
  job?: LoggingSectionConfig
  code_executor?: LoggingSectionConfig
}

export type LoggingSection = Required<LoggingSectionConfig>

/** Sizes and ages are those of the specification's example, but for a file's size: 4 GB is much to take unasked. */
const defaults: LoggingSection = {
  console_level: 'info',
  file_level: 'debug',
  file: 'logs/main.log',
  max_size_mb: 100,
  max_backups: 3,
  max_age_days: 28,
}

/** Every section with all its keys: its own, else those of `main`, else the defaults. */
export function completeSections(config: LoggingConfig): Record<keyof LoggingConfig, LoggingSection> {
  const main = inherit(config.main, defaults)
  return { main, job: inherit(config.job, main), code_executor: inherit(config.code_executor, main) }
}

/** Not a spread: a key that is there but undefined is missing too. */
function inherit(section: LoggingSectionConfig = {}, from: LoggingSection): LoggingSection {
  return {
    console_level: section.console_level ?? from.console_level,
    file_level: section.file_level ?? from.file_level,
    file: section.file ?? from.file,
    max_size_mb: section.max_size_mb ?? from.max_size_mb,
    max_backups: section.max_backups ?? from.max_backups,
    max_age_days: section.max_age_days ?? from.max_age_days,
  }
}
