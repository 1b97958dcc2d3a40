import { sizeLimits } from '@errand/shared'
import type {
  AgentMessage,
  ApiMessage,
  Held,
  JobProgress,
  MaintenanceType,
  Offsets,
  RunResult,
  Stream,
} from '@errand/shared'
import { claimKey } from '../claim.ts'
import type { Claim } from '../claim.ts'
import { crashPoint } from '../crash-point.ts'
import type { Log } from '../log.ts'
import type { Spool } from '../spool/spool.ts'
import { allAnswered, bytesInFlight, newHeldJob, rewind, unsent } from './held-job.ts'
import type { HeldJob } from './held-job.ts'

/** Where frames go while a session lasts. */
export interface Sender {
  send(message: AgentMessage, payload?: Uint8Array, sent?: () => void): void
}

export interface DeliveryParts {
  spool: Spool
  /** How long to rest when the API keeps sending us back to an offset. */
  restMs: number
  log: Log
  spoolFailed(error: unknown): void
  /** The claim is no longer ours, says the API. */
  stale(claim: Claim): void
  /** It was behind when it was asked, and is no more. */
  caughtUp(): void
}

type Answer<Type extends ApiMessage['type']> = Extract<ApiMessage, { type: Type }>

/** Beyond either of them the delivery is behind; a frame must hold the inventory of all that waits. */
const mostEndedJobs = 500
const mostBytes = 64 * 1024 * 1024

const streams = ['stdout', 'stderr'] as const satisfies Stream[]

/**
 * Brings output and results from the spool to the API, over any number of sessions: all that is held is here until the
 * API has answered that it is stored, or no longer wanted. At most `outputWindow` bytes are on their way, of all jobs
 * together, so that a renewal never waits long behind them on a slow link; the rest waits in the spool, not in memory.
 */
export class Delivery {
  readonly #parts: DeliveryParts
  readonly #jobs = new Map<string, HeldJob>()
  #sender: Sender | undefined
  #bytesInFlight = 0
  #woken = false
  #foundBehind = false
  #emptied: (() => void)[] = []

  constructor(parts: DeliveryParts) {
    this.#parts = parts
  }

  /** For the inventory and each renewal. */
  held(): Held[] {
    return [...this.#jobs.values()].map(({ id, fence, state, agentDied }) => ({
      id,
      fence,
      state,
      ...(agentDied && { agent_died: true }),
    }))
  }

  /**
   * Whether so much waits to be delivered that no more jobs are to be taken: on a slow link, or with the API's database
   * slow, runs would go on ending and the spool would grow without bound.
   */
  get behind(): boolean {
    return (this.#foundBehind = this.#isBehind())
  }

  hold(claim: Claim, state: Held['state']): void {
    this.#jobs.set(claimKey(claim), newHeldJob(claim, state))
  }

  /** The agent before this one died with it, and had not started it: it is held until the API has heard that. */
  holdDead(claim: Claim): void {
    this.#jobs.set(claimKey(claim), { ...newHeldJob(claim, 'accepted'), agentDied: true })
  }

  starting(claim: Claim): void {
    const job = this.#get(claim)
    if (job) job.state = 'starting'
  }

  /** It has run for long enough to be said. */
  running(claim: Claim): void {
    const job = this.#get(claim)
    if (!job || job.state !== 'starting') return
    crashPoint('started', job)
    job.running = true
    this.#sender?.send({ type: 'started', id: job.id, fence: job.fence })
  }

  /** The spool has output up to `end`. */
  spooled(claim: Claim, stream: Stream, end: number): void {
    const job = this.#get(claim)
    if (!job) return
    job.ends[stream] = end
    this.#wake()
  }

  ended(claim: Claim, result: RunResult): void {
    const job = this.#get(claim)
    if (!job) return
    job.state = 'ended'
    job.result = result
    this.#wake()
  }

  /** It was not started here and will not be. Without a session, its absence from the next inventory says so. */
  handBack(claim: Claim, reason: string): void {
    this.forget(claim)
    this.#sender?.send({ type: 'return', id: claim.id, fence: claim.fence, reason: reason.slice(0, 1_000) })
  }

  /** The same, and the job that brings what it needs is to be waited for. */
  lock(claim: Claim, need: MaintenanceType, reason: string): void {
    crashPoint('locking', claim)
    this.forget(claim)
    const { id, fence } = claim
    this.#sender?.send({ type: 'lock', id, fence, need, reason: reason.slice(0, 1_000) })
  }

  /** Not kept: the next says more. */
  progress(claim: Claim, progress: JobProgress): void {
    const job = this.#get(claim)
    if (job) this.#sender?.send({ type: 'progress', id: job.id, fence: job.fence, progress })
  }

  forget(claim: Claim): void {
    const job = this.#get(claim)
    if (!job) return
    this.#jobs.delete(claimKey(claim))
    this.#bytesInFlight -= bytesInFlight(job)
    try {
      this.#parts.spool.forget(claim)
    } catch (error) {
      // Should we die before there is room, it is offered once more, and answered `already` or `stale`.
      this.#parts.spoolFailed(error)
    }
    if (this.#jobs.size === 0) for (const emptied of this.#emptied.splice(0)) emptied()
    this.#wake()
    this.#tellIfCaughtUp()
  }

  /** Settles once nothing is held any more. */
  async empty(): Promise<void> {
    if (this.#jobs.size > 0) await new Promise<void>((resolve) => this.#emptied.push(resolve))
  }

  /**
   * A session is reconciled: the API has so much of each job's output. What was handed back after the inventory had been
   * made, when there was nobody to say it to, is handed back now.
   */
  attach(sender: Sender, stored: readonly (Claim & { offsets: Offsets })[]): void {
    this.#sender = sender
    this.#bytesInFlight = 0
    for (const job of this.#jobs.values()) {
      // If it was this job that the API could not take, the others must not wait for it each time.
      if (job.finish || !allAnswered(job)) this.#rest(job)
      rewind(job, { stdout: 0, stderr: 0 })
    }
    for (const { id, fence, offsets } of stored) {
      const job = this.#get({ id, fence })
      if (!job)
        sender.send({ type: 'return', id, fence, reason: 'it was handed back while the agent connected' })
      // To keep it says an older API, which does not count it.
      else if (job.agentDied) this.handBack(job, 'its agent died before it had started it')
      else rewind(job, offsets)
    }
    for (const job of this.#jobs.values())
      if (job.running && job.state === 'starting')
        sender.send({ type: 'started', id: job.id, fence: job.fence })
    this.#wake()
  }

  detach(): void {
    this.#sender = undefined
  }

  outputStored({ id, fence, stream, verdict, next_offset: next }: Answer<'output_stored'>): void {
    const job = this.#get({ id, fence })
    const sent = job?.inFlight[stream].shift()
    if (!job || !sent) return
    this.#bytesInFlight -= sent.bytes
    if (verdict === 'stale') {
      this.#parts.stale(job)
      return
    }
    if (next === sent.end && job.rewindTo[stream] === undefined) job.rewinds = 0
    else job.rewindTo[stream] = next
    const to = job.rewindTo[stream]
    if (to !== undefined && job.inFlight[stream].length === 0) {
      job.sent[stream] = Math.min(to, job.ends[stream])
      delete job.rewindTo[stream]
      this.#rest(job)
    }
    this.#wake()
    this.#tellIfCaughtUp()
  }

  finished({ id, fence, verdict, offsets }: Answer<'finished'>): void {
    const job = this.#get({ id, fence })
    if (!job?.finish) return
    this.#bytesInFlight -= job.finish.bytes
    job.finish = undefined
    switch (verdict) {
      case 'stored':
      case 'already':
        crashPoint('acked_result', job)
        this.forget(job)
        return
      case 'stale':
        this.#parts.stale(job)
        return
      case 'incomplete':
        rewind(job, offsets ?? { stdout: 0, stderr: 0 })
        this.#rest(job)
        this.#wake()
        return
    }
  }

  #get(claim: Claim): HeldJob | undefined {
    return this.#jobs.get(claimKey(claim))
  }

  #isBehind(): boolean {
    const jobs = [...this.#jobs.values()]
    const ended = jobs.filter((job) => job.state === 'ended').length
    return (
      ended > mostEndedJobs ||
      jobs.reduce((sum, job) => sum + unsent(job) + bytesInFlight(job), 0) > mostBytes
    )
  }

  #tellIfCaughtUp(): void {
    if (!this.#foundBehind || this.#isBehind()) return
    this.#foundBehind = false
    this.#parts.caughtUp()
  }

  /** Sends at the end of this turn, so that a run's last output and its result make one frame. */
  #wake(): void {
    if (this.#woken || !this.#sender) return
    this.#woken = true
    queueMicrotask(() => {
      this.#woken = false
      this.#pump()
    })
  }

  /** One frame of each job in turn, until the window is full or nothing is left to send. */
  #pump(): void {
    let waiting = [...this.#jobs.values()]
    while (this.#sender && waiting.length > 0) {
      const more: HeldJob[] = []
      for (const job of waiting) {
        if (!this.#sender || this.#bytesInFlight + sizeLimits.outputChunk > sizeLimits.outputWindow) return
        if (!this.#sendNext(this.#sender, job)) continue
        more.push(job)
        // Behind the others for the next time: one that floods doesn't keep them waiting.
        if (this.#jobs.delete(claimKey(job))) this.#jobs.set(claimKey(job), job)
      }
      waiting = more
    }
  }

  #sendNext(sender: Sender, job: HeldJob): boolean {
    if (job.resting || job.finish) return false
    if (!job.result || unsent(job) > sizeLimits.outputChunk) return this.#sendOutput(sender, job)
    // Only then are the offsets of an `incomplete` certain.
    if (!allAnswered(job)) return false
    this.#sendFinish(sender, job, job.result)
    return true
  }

  #sendOutput(sender: Sender, job: HeldJob): boolean {
    const stream = streams.find((one) => job.sent[one] < job.ends[one] && job.rewindTo[one] === undefined)
    if (!stream) return false
    const offset = job.sent[stream]
    const bytes = this.#parts.spool.read(job, stream, offset)
    if (bytes.length === 0) return false
    job.sent[stream] = offset + bytes.length
    job.inFlight[stream].push({ end: job.sent[stream], bytes: bytes.length })
    this.#bytesInFlight += bytes.length
    sender.send({ type: 'output', id: job.id, fence: job.fence, stream, offset }, bytes)
    return true
  }

  #sendFinish(sender: Sender, job: HeldJob, result: RunResult): void {
    const stdout = this.#readUnsent(job, 'stdout')
    const stderr = this.#readUnsent(job, 'stderr')
    const payload = Buffer.concat([stdout, stderr])
    job.finish = { bytes: payload.length }
    this.#bytesInFlight += payload.length
    const inline = { stdout: stdout.length, stderr: stderr.length }
    sender.send({ type: 'finish', id: job.id, fence: job.fence, inline, result }, payload, () =>
      crashPoint('sent_result', job),
    )
  }

  #readUnsent(job: HeldJob, stream: Stream): Buffer {
    const pieces: Uint8Array[] = []
    let offset = job.sent[stream]
    while (offset < job.ends[stream]) {
      const piece = this.#parts.spool.read(job, stream, offset)
      if (piece.length === 0) break
      pieces.push(piece)
      offset += piece.length
    }
    return Buffer.concat(pieces)
  }

  /** When the API keeps sending us back, something is wrong that haste doesn't mend. */
  #rest(job: HeldJob): void {
    job.rewinds += 1
    if (job.rewinds <= 3) return
    this.#parts.log.warn(
      { execution_id: job.id, fence: job.fence, rewinds: job.rewinds },
      'the API keeps asking for the same output',
    )
    job.resting = true
    setTimeout(
      () => {
        job.resting = false
        this.#wake()
      },
      this.#parts.restMs * Math.min(job.rewinds, 30),
    ).unref()
  }
}
