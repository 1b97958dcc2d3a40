import type { Held, Offsets, RunResult, Stream } from '@errand/shared'
import type { Claim } from '../claim.ts'

/** Bytes on their way, until the API answers. */
export interface InFlight {
  /** The offset after them. */
  end: number
  bytes: number
}

/** A job that this agent holds, and how far its delivery is in the current session. */
export interface HeldJob extends Claim {
  state: Held['state']
  /** With it the agent before this one, which had not started it. */
  agentDied: boolean
  /** Long enough under way to be said. */
  running: boolean
  /** Output that is in the spool. */
  ends: Offsets
  /** Of that, sent. */
  sent: Offsets
  inFlight: Record<Stream, InFlight[]>
  /** The API has other offsets than we thought: nothing more goes out before all answers are in. */
  rewindTo: Partial<Offsets>
  /** How often that was so since the last progress; more than a few times, we wait before we send again. */
  rewinds: number
  resting: boolean
  result: RunResult | undefined
  finish: { bytes: number } | undefined
}

export function newHeldJob(claim: Claim, state: Held['state']): HeldJob {
  return {
    id: claim.id,
    fence: claim.fence,
    state,
    agentDied: false,
    running: false,
    ends: { stdout: 0, stderr: 0 },
    sent: { stdout: 0, stderr: 0 },
    inFlight: { stdout: [], stderr: [] },
    rewindTo: {},
    rewinds: 0,
    resting: false,
    result: undefined,
    finish: undefined,
  }
}

/** A new session begins where the API stands. */
export function rewind(job: HeldJob, to: Offsets): void {
  job.sent = { stdout: Math.min(to.stdout, job.ends.stdout), stderr: Math.min(to.stderr, job.ends.stderr) }
  job.inFlight = { stdout: [], stderr: [] }
  job.rewindTo = {}
  job.finish = undefined
}

export function unsent(job: HeldJob): number {
  return job.ends.stdout - job.sent.stdout + job.ends.stderr - job.sent.stderr
}

export function bytesInFlight(job: HeldJob): number {
  const output = [...job.inFlight.stdout, ...job.inFlight.stderr]
  return output.reduce((sum, one) => sum + one.bytes, job.finish?.bytes ?? 0)
}

export function allAnswered(job: HeldJob): boolean {
  return job.inFlight.stdout.length === 0 && job.inFlight.stderr.length === 0
}
