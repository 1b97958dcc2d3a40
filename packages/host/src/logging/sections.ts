import type { LoggingConfig, LogSection } from '@errand/shared/logging-config'

/** A section with every key. `max_backups` 0 keeps any number, as Go's lumberjack does, whose keys these are. */
export type CompleteSection = Required<LogSection>

/**
 * Those of the specification's example, but for a file's size (there 1000) and level (there `debug`): 4 GB, and some
 * lines for each execution, are much to take unasked.
 */
const defaults: CompleteSection = {
  console_level: 'info',
  file_level: 'info',
  file: 'logs/main.log',
  max_size_mb: 100,
  max_backups: 3,
  max_age_days: 28,
}

/** Every section with all its keys: its own, else those of `main`, else the defaults. */
export function completeSections(config: LoggingConfig): Record<keyof LoggingConfig, CompleteSection> {
  const main = inherit(config.main, defaults)
  return { main, job: inherit(config.job, main), code_executor: inherit(config.code_executor, main) }
}

/** Not a spread: a key that is there but undefined is missing too. */
function inherit(section: LogSection = {}, from: CompleteSection): CompleteSection {
  return {
    console_level: section.console_level ?? from.console_level,
    file_level: section.file_level ?? from.file_level,
    file: section.file ?? from.file,
    max_size_mb: section.max_size_mb ?? from.max_size_mb,
    max_backups: section.max_backups ?? from.max_backups,
    max_age_days: section.max_age_days ?? from.max_age_days,
  }
}
