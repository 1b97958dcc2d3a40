import { describe, expect, test } from 'vitest'
import { completeSections } from './sections.ts'

describe('completeSections', () => {
  test('takes the missing keys of job and code_executor from main, and those of main from the defaults', () => {
    const sections = completeSections({
      main: { console_level: 'warn', file: 'logs/here.log', max_backups: 0 },
      job: { file_level: 'trace', console_level: undefined },
      code_executor: { file: 'logs/code.log' },
    })
    const main = {
      console_level: 'warn',
      file_level: 'info',
      file: 'logs/here.log',
      max_size_mb: 100,
      max_backups: 0,
      max_age_days: 28,
    }
    expect(sections).toEqual({
      main,
      job: { ...main, file_level: 'trace' },
      code_executor: { ...main, file: 'logs/code.log' },
    })
  })
})
