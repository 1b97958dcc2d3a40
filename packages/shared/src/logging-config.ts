import { z } from 'zod'
import { plainText } from './text.ts'

export const logLevel = z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])

/** The seed's keys. Sizes in MiB, ages in days; a key that is absent comes from `main`. */
export const logSection = z.strictObject({
  console_level: logLevel.optional(),
  file_level: logLevel.optional(),
  file: plainText(4_096).min(1).optional(),
  max_size_mb: z.number().positive().max(1_000_000).optional(),
  max_backups: z.int().min(0).max(10_000).optional(),
  max_age_days: z.number().positive().max(36_500).optional(),
})
export type LogSection = z.infer<typeof logSection>

/** `job` and `code_executor` inherit from `main`. */
export const loggingConfig = z.strictObject({
  main: logSection.optional(),
  job: logSection.optional(),
  code_executor: logSection.optional(),
})
export type LoggingConfig = z.infer<typeof loggingConfig>
