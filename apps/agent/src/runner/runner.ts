import type {
  AgentPolicy,
  Assignment,
  ExecutorType,
  KeptAssignment,
  SlotClass,
  Slots as SlotCounts,
  TimeConstants,
} from '@errand/shared'
import type { Backend, StopReason } from '../backends/backend.ts'
import { claimKey } from '../claim.ts'
import type { Claim } from '../claim.ts'
import type { Lease } from '../connection/lease.ts'
import type { Monotonic } from '../connection/monotonic.ts'
import type { ServerClock } from '../connection/server-clock.ts'
import { crashPoint } from '../crash-point.ts'
import type { Delivery } from '../delivery/delivery.ts'
import type { Log } from '../log.ts'
import type { KeptRun } from '../spool/kept-run.ts'
import type { Spool, SpooledJob } from '../spool/spool.ts'
import { Ending } from './ending.ts'
import { execute } from './execute.ts'
import type { Reassignments } from './reassignments.ts'
import { Slots } from './slots.ts'

export interface RunnerParts {
  url: string
  backends: Partial<Record<ExecutorType, Backend>>
  policy: AgentPolicy
  slots: SlotCounts
  hostname: string
  time: TimeConstants
  monotonic: Monotonic
  clock: ServerClock
  lease: Lease
  spool: Spool
  delivery: Delivery
  reassignments: Reassignments
  log: Log
  /** There may be slots to grant again. */
  freed: () => void
}

/** A job under way on this agent, from its assignment to its result. */
export type RunningJob = AssignedJob | AdoptedJob

/** One that has come from the API. */
export interface AssignedJob extends JobUnderWay {
  readonly assignment: Assignment
  readonly backend: Backend
  readonly adopted?: undefined
}

/** One whose program an earlier agent of this directory had started. */
export interface AdoptedJob extends JobUnderWay {
  readonly assignment: KeptAssignment
  readonly adopted: Adoptable
}

/** What there is of a job that can be adopted. */
export interface Adoptable extends SpooledJob {
  run: KeptRun
}

interface JobUnderWay extends Claim {
  readonly slot: number
  readonly ending: Ending
  /** Its program has ended: another may run in its slot. May be called twice. */
  vacate(): void
  /** Monotonic. */
  readonly assignedAt: number
  /** No longer ours: it ends, and nothing is said of it. */
  dropped: boolean
}

/** Takes assignments as slots allow, runs them and hands their results to the delivery. */
export class Runner {
  readonly #parts: RunnerParts
  readonly #slots: Slots
  readonly #jobs = new Map<string, RunningJob>()
  #draining = false
  #spoolFailing = false
  #idle: (() => void)[] = []

  constructor(parts: RunnerParts) {
    this.#parts = parts
    this.#slots = new Slots(parts.slots)
  }

  /** Starts the job or hands it back with the reason; a claim that was seen before is ignored. */
  assign(assignment: Assignment): void {
    crashPoint('recv_claim', assignment)
    const { spool, delivery, backends } = this.#parts
    const claim = { id: assignment.id, fence: assignment.fence }
    if (spool.hasSeen(claim)) return
    this.#slots.used(assignment.slot_class)
    const backend = backends[assignment.executor.executor_type]
    if (this.#draining) return this.#handBack(claim, 'the agent is being stopped')
    if (!backend)
      return this.#handBack(claim, `the agent runs no ${assignment.executor.executor_type} executors`)
    const slot = this.#slots.take(assignment.slot_class)
    if (slot === undefined) return this.#handBack(claim, 'every slot of the agent is taken')
    try {
      spool.accept(claim)
    } catch (error) {
      this.#slots.vacate(assignment.slot_class)
      this.#slots.clear(assignment.slot_class, slot)
      this.spoolFailed(error)
      return this.#handBack(claim, "the agent's disk takes no more")
    }
    crashPoint('accepted', claim)
    delivery.hold(claim, 'accepted')
    void this.#run({ ...this.#underWay(claim, assignment.slot_class, slot), assignment, backend })
  }

  /** Goes on with a job whose agent died, in the slot that it had. To be called at start, before anything is granted. */
  adopt(adopted: Adoptable): void {
    const { spool, delivery, time, log } = this.#parts
    const { id, fence, run } = adopted
    const { assignment, slot } = run
    const claim = { id, fence }
    this.#spoolOrFail(() => spool.adopting(claim))
    log.info({ execution_id: id, fence }, 'goes on with what the agent before had started')
    this.#slots.occupy(assignment.slot_class, slot)
    delivery.hold(claim, 'starting')
    const ends = spool.ends(claim)
    delivery.spooled(claim, 'stdout', ends.stdout)
    delivery.spooled(claim, 'stderr', ends.stderr)
    const proved = setTimeout(() => this.#spoolOrFail(() => spool.adopted(claim)), time.adoptionProvedMs)
    const job = { ...this.#underWay(claim, assignment.slot_class, slot), assignment, adopted }
    void this.#run(job).finally(() => clearTimeout(proved))
  }

  /** An assignment that came for a slot of this class and can't be read goes back. */
  handBackUnread({ id, fence }: Claim, slots: SlotClass): void {
    this.#slots.used(slots)
    this.#handBack({ id, fence }, 'the agent does not understand the assignment: update it')
  }

  /** A claim whose assignment never came goes back, so that the API need not wait: it won't be started any more. */
  cancel({ id, fence }: Claim): void {
    const claim = { id, fence }
    const job = this.#jobs.get(claimKey(claim))
    if (job) return job.ending.stop('canceled')
    if (this.#parts.spool.hasSeen(claim)) return
    // The slot that was granted for it is. (A cancel doesn't say of which class it is: a wrong one rights itself when
    // the job that comes for it is handed back, or at the next session.)
    this.#slots.used('run')
    this.#handBack(claim, 'its assignment never reached the agent')
  }

  /** The API has given it to somebody else, or it is final: ends it and forgets it. */
  drop(claim: Claim): void {
    const job = this.#jobs.get(claimKey(claim))
    if (job) {
      job.dropped = true
      this.#end(job, 'lease_lost')
    }
    this.#parts.delivery.forget(claim)
  }

  /** Ends every job, or those of which the API may begin another attempt. */
  endAll(reason: StopReason, only: 'with attempts left' | 'all' = 'all'): void {
    for (const job of this.#jobs.values())
      if (only === 'all' || job.assignment.attempts_left) this.#end(job, reason)
  }

  /** Also one that waits for its assignment: there may be no API to tell it. (One that cancels is there.) */
  #end(job: RunningJob, reason: StopReason): void {
    job.ending.stop(reason)
    this.#parts.reassignments.giveUp(job)
  }

  /** Takes no more jobs; settles once those under way have ended. */
  async drain(): Promise<void> {
    this.#draining = true
    if (this.#jobs.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Slots that the API has not been told of, counted as told; none while what has ended waits to be delivered. */
  grant(): SlotCounts | undefined {
    const full = this.#draining || this.#spoolFailing || this.#parts.delivery.behind
    return full ? undefined : this.#slots.grant()
  }

  /** Whether the spool takes no more; looked at again and again. */
  get diskFull(): boolean {
    return this.#spoolFailing
  }

  /** A new session: every free slot is to be granted anew. */
  regrant(): void {
    this.#slots.regrant()
  }

  /** Takes no more jobs until the spool can be written again. */
  spoolFailed(error: unknown): void {
    if (this.#spoolFailing) return
    this.#spoolFailing = true
    const { spool, log, time } = this.#parts
    log.error({ err: error }, 'the spool cannot be written (disk full?): no more jobs are taken')
    const timer = setInterval(() => {
      try {
        spool.probe()
      } catch {
        return
      }
      clearInterval(timer)
      this.#spoolFailing = false
      log.info({}, 'the spool can be written again')
      this.#parts.freed()
    }, time.pollEveryMs).unref()
  }

  #underWay(claim: Claim, slots: SlotClass, slot: number): JobUnderWay {
    const { monotonic } = this.#parts
    return {
      ...claim,
      slot,
      ending: new Ending(monotonic),
      vacate: this.#vacateOnce(slots),
      assignedAt: monotonic(),
      dropped: false,
    }
  }

  #spoolOrFail(write: () => void): void {
    try {
      write()
    } catch (error) {
      this.spoolFailed(error)
    }
  }

  async #run(job: RunningJob): Promise<void> {
    this.#jobs.set(claimKey(job), job)
    try {
      await execute(job, this.#parts, (error) => this.spoolFailed(error))
    } finally {
      this.#jobs.delete(claimKey(job))
      job.vacate()
      this.#slots.clear(job.assignment.slot_class, job.slot)
      this.#parts.freed()
      if (this.#jobs.size === 0) for (const idle of this.#idle.splice(0)) idle()
    }
  }

  #vacateOnce(slots: SlotClass): () => void {
    let vacated = false
    return () => {
      if (vacated) return
      vacated = true
      this.#slots.vacate(slots)
      this.#parts.freed()
    }
  }

  #handBack(claim: Claim, reason: string): void {
    const { spool, delivery, log, freed } = this.#parts
    log.info({ execution_id: claim.id, fence: claim.fence, reason }, 'handed back')
    spool.refuse(claim)
    delivery.handBack(claim, reason)
    freed()
  }
}
