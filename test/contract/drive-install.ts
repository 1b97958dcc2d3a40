import { dependenciesFor } from '@errand/shared'
import type { Assignment, ExecutorSettings, JobLogLine, JobProgress, JobResult } from '@errand/shared'
import type { Backend, Maintenance } from '../../apps/agent/src/backends/backend.ts'
import { assignmentFor } from './drive.ts'

export interface Installing {
  backend: Backend
  /** The executor's settings, as validated. */
  settings: Record<string, unknown>
  runtime: 'python' | 'node'
  /** Beside the executor's own. */
  dependencies?: string[]
  slot?: number
  signal?: AbortSignal
  timeoutSec?: number
  starting?: () => void
  /** As it is told. */
  watch?: (told: { progress?: JobProgress; line?: string }) => void
}

export interface Installed {
  result: JobResult
  log: { level: JobLogLine['level']; message: string }[]
  progress: JobProgress[]
}

/** Installs a dependency set as a maintenance job would. What it told until then is on the error where it fails. */
export async function driveInstall(given: Installing): Promise<Installed> {
  const { backend, settings, runtime, dependencies = [], slot = 0, watch, timeoutSec = 120 } = given
  const log: Installed['log'] = []
  const progress: JobProgress[] = []
  const assignment: Assignment = {
    ...assignmentFor({ backend, settings }, { runtime, timeout_sec: timeoutSec }),
    type: 'runtime.install',
    slot_class: 'maintenance',
  }
  const work: Maintenance & { dependencies: readonly string[] } = {
    assignment,
    slot,
    signal: given.signal ?? new AbortController().signal,
    starting: given.starting ?? (() => {}),
    progress: (one) => {
      progress.push(one)
      watch?.({ progress: one })
    },
    log: (level, message) => {
      log.push({ level, message })
      watch?.({ line: message })
    },
    dependencies: dependenciesFor(settings as ExecutorSettings, runtime, dependencies),
  }
  return { result: await backend.install!(work), log, progress }
}
