import type { RunEnd } from '../backends/backend.ts'
import { Lost, NotStarted } from '../backends/backend.ts'
import { refusal } from '../policy.ts'
import type { Output } from './output.ts'
import type { AdoptedJob, RunnerParts } from './runner.ts'

/**
 * Goes on with a run whose agent died. Its backend tells all of it once more; what the spool has of its output already
 * is not stored again.
 *
 * @throws what its backend does
 */
export async function adopt(
  job: AdoptedJob,
  { backends, policy, reassignments, spool, delivery, time }: RunnerParts,
  output: Output,
): Promise<RunEnd> {
  const { assignment, adopted, ending } = job
  const backend = backends[assignment.executor.executor_type]
  if (!backend?.adopt) throw new Lost('this agent can no longer go on with what it ran')
  for (const stream of ['stdout', 'stderr'] as const) output.resume(stream, spool.pieces(job, stream))
  output.onLimit = () => {
    if (adopted.run.onOutputLimit === 'kill') ending.stop('output_limit')
  }
  const end = await backend.adopt({
    assignment,
    kept: adopted.run.backend,
    async assignmentAgain() {
      const again = await reassignments.of(job)
      if (!again)
        throw new Lost('the agent that ran it died, and the API told the one after it nothing more of it')
      const refused = refusal(policy, again)
      if (refused !== undefined) throw new Lost(refused)
      return again
    },
    signal: ending.signal,
    // It runs already: neither the lease nor the spool is asked.
    starting(phase, limitMs) {
      if (!ending.started) setTimeout(() => delivery.running(job), time.runningAfterMs).unref()
      const { goesOn } = ending
      ending.begin(phase, limitMs)
      if (!goesOn) throw new NotStarted(`it is to end: ${ending.reason}`)
    },
    exited: (tookMs) => ending.exited(tookMs),
    output: (stream, bytes) => output.write(stream, bytes),
    counted: (stream, bytes) => output.counted(stream, bytes),
  })
  if (!output.caughtUp && ending.reason === null)
    throw new Lost('less is left of its output than it had written')
  return end
}
