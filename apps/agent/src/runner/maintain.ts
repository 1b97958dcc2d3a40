import { dependenciesFor, installParams } from '@errand/shared'
import type { ExecutorSettings, JobLogLine, JobProgress, JobResult } from '@errand/shared'
import type { Maintenance } from '../backends/backend.ts'
import { crashPoint } from '../crash-point.ts'
import type { Output } from './output.ts'
import { errorText } from './result.ts'
import type { AssignedJob, RunnerParts } from './runner.ts'

/** How long a progress that follows another is kept back, so that only the newest is told. */
const toldEveryMs = 500

/**
 * Does a maintenance job, whose log is its standard output: a JSON object a line.
 *
 * @throws what its backend does
 */
export async function maintain(
  job: AssignedJob,
  { delivery, clock, log: agentLog }: RunnerParts,
  output: Output,
  starting: Maintenance['starting'],
): Promise<JobResult> {
  const { assignment, backend, ending, slot } = job
  const log = (level: JobLogLine['level'], message: string): void => {
    const line = { time: new Date(clock.now()).toISOString(), level, message: errorText(message) }
    output.write('stdout', Buffer.from(`${JSON.stringify(line)}\n`))
  }
  const tell = lately((progress: JobProgress) => delivery.progress(job, progress))
  const work: Maintenance = { assignment, slot, signal: ending.signal, starting, progress: tell.say, log }
  try {
    const brought = await bring(work)
    log('info', `done in ${(brought.took_ms / 1_000).toFixed(1)} s`)
    crashPoint('brought', job)
    return brought
  } catch (error) {
    agentLog.warn({ job_id: job.id, fence: job.fence, err: error }, 'a maintenance job came to nothing')
    log('error', ending.reason ?? (error instanceof Error ? error.message : String(error)))
    throw error
  } finally {
    tell.end()
  }

  function bring(work: Maintenance): Promise<JobResult> {
    const { type, request, runtime, executor } = assignment
    if (type === 'docker_image.download' && backend.download) return backend.download(work)
    if (type !== 'runtime.install' || !backend.install)
      throw new Error(`this agent's ${backend.type} backend knows no ${type}: update it`)
    const { dependencies } = installParams.parse(request)
    const settings = executor.settings as ExecutorSettings
    return backend.install({ ...work, dependencies: dependenciesFor(settings, runtime, dependencies) })
  }
}

/** Says the first at once, and of those that follow too soon the last, at the end at the latest. */
function lately<T>(say: (news: T) => void): { say: (news: T) => void; end: () => void } {
  let latest: { news: T } | undefined
  let timer: NodeJS.Timeout | undefined
  const rest = (): void => {
    timer = setTimeout(() => {
      timer = undefined
      if (latest === undefined) return
      say(latest.news)
      latest = undefined
      rest()
    }, toldEveryMs)
  }
  return {
    say(news) {
      if (timer !== undefined) latest = { news }
      else {
        say(news)
        rest()
      }
    },
    end() {
      clearTimeout(timer)
      if (latest !== undefined) say(latest.news)
    },
  }
}
