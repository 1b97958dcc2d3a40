import { arch, platform, release } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  AgentPolicy,
  AgentReport,
  BackendReport,
  ExecutorType,
  Slots,
  TimeConstants,
} from '@errand/shared'
import { answer } from './answer.ts'
import type { Backend } from './backends/backend.ts'
import { Connection } from './connection/connection.ts'
import { Lease } from './connection/lease.ts'
import type { Monotonic } from './connection/monotonic.ts'
import type { ServerClock } from './connection/server-clock.ts'
import type { JobMessage, SessionEvents } from './connection/session.ts'
import { Delivery } from './delivery/delivery.ts'
import type { AgentKey, Enrolled } from './identity.ts'
import type { Log } from './log.ts'
import { recover } from './recover.ts'
import { Reassignments } from './runner/reassignments.ts'
import { Runner } from './runner/runner.ts'
import type { Spool } from './spool/spool.ts'
import { StockReport } from './stock-report.ts'

export interface AgentParts {
  /** Base address of the API. */
  url: string
  identity: Enrolled
  key: AgentKey
  policy: AgentPolicy
  spool: Spool
  bootId: string
  backends: Partial<Record<ExecutorType, Backend>>
  slots: Slots
  hostname: string
  version: string
  time: TimeConstants
  monotonic: Monotonic
  clock: ServerClock
  random: () => number
  log: Log
}

/** The agent of one directory: runner, delivery and connection put together. */
export class Agent {
  readonly #parts: AgentParts
  readonly #lease: Lease
  readonly #delivery: Delivery
  readonly #runner: Runner
  readonly #connection: Connection
  readonly #backends: Backend[]
  readonly #stock: StockReport
  readonly #reassignments = new Reassignments()
  #runtimes: AgentReport['runtimes'] = {}
  #drained: Promise<void> | undefined
  #killed = new AbortController()

  constructor(parts: AgentParts) {
    const { spool, time, monotonic, clock, log } = parts
    this.#parts = parts
    this.#backends = Object.values(parts.backends)
    this.#stock = new StockReport(this.#backends, time.pollEveryMs)
    const lease = new Lease({
      time,
      monotonic,
      kept: spool.leaseSentAt,
      keep: (sentAt) => this.#keepLease(sentAt),
    })
    const delivery = new Delivery({
      spool,
      restMs: time.pollEveryMs,
      log,
      spoolFailed: (error) => this.#runner.spoolFailed(error),
      stale: (claim) => this.#runner.drop(claim),
      caughtUp: () => this.#connection.offerCredits(),
    })
    const freed = () => this.#connection.offerCredits()
    this.#lease = lease
    this.#delivery = delivery
    const reassignments = this.#reassignments
    this.#runner = new Runner({ ...parts, clock, lease, delivery, reassignments, freed })
    this.#connection = new Connection({
      ...parts,
      spoolId: spool.id,
      clock,
      lease,
      report: () => this.#report(),
      events: this.#events(),
    })
  }

  /**
   * Cleans up after an agent that died here, then connects and works until it is drained.
   *
   * @throws {Refused} when the API knows this agent no more; its jobs have ended then
   */
  async run(): Promise<void> {
    const { spool } = this.#parts
    await recover({ ...this.#parts, runner: this.#runner, delivery: this.#delivery })
    const tidying = setInterval(() => this.#tidy(), this.#parts.time.tidyEveryMs).unref()
    for (const backend of this.#backends) Object.assign(this.#runtimes, await backend.runtimes())
    this.#lease.watch({
      ended: () => {
        this.#runner.endAll('lease_lost', 'with attempts left')
        this.#connection.renew('the lease has run out')
      },
      lost: () => this.#runner.endAll('lease_lost'),
    })
    try {
      await this.#connection.run()
      await this.#drained
    } finally {
      clearInterval(tidying)
      this.#runner.endAll('shutdown')
      await this.#runner.drain()
      this.#connection.close()
      this.#lease.close()
      for (const backend of this.#backends) await backend.close()
      spool.close()
    }
  }

  /** What lies on this host because of Errand is not what the API was told. */
  stockChanged(): void {
    this.#stock.changed()
  }

  /** Takes no more, finishes what runs, delivers what can be delivered; then `run` returns. */
  drain(): void {
    this.#drained ??= this.#finishAndDeliver()
  }

  /** As `drain`, but what runs is killed and reported as `infra_error`. */
  kill(): void {
    this.#killed.abort()
    this.#runner.endAll('shutdown')
    this.drain()
  }

  #tidy(): void {
    for (const { type, tidy } of this.#backends.map((one) => ({ type: one.type, tidy: one.tidy?.() })))
      tidy?.catch((err: unknown) => this.#parts.log.warn({ backend: type, err }, 'could not tidy up'))
  }

  async #finishAndDeliver(): Promise<void> {
    const { time, log } = this.#parts
    log.info({}, 'draining: no more jobs are taken')
    await this.#runner.drain()
    // What can't be delivered now waits in the spool for the next start.
    const patience = sleep(time.leaseMs, undefined, { signal: this.#killed.signal, ref: false })
    const shorter = patience.catch(() => sleep(time.handshakeMs, undefined, { ref: false }))
    await Promise.race([this.#delivery.empty(), shorter])
    this.#connection.close()
  }

  async #report(): Promise<AgentReport> {
    const { hostname, version, slots } = this.#parts
    const reports = await Promise.all(
      this.#backends.map(async (one) => [one.type, this.#orFull(await one.probe())] as const),
    )
    return {
      hostname,
      version,
      platform: `${platform()} ${release()} ${arch()}`,
      backends: Object.fromEntries(reports),
      runtimes: this.#runtimes,
      slots,
    }
  }

  /** While its disk is full no backend can take anything, and the API is to know why. */
  #orFull(report: BackendReport): BackendReport {
    if (!this.#runner.diskFull) return report
    const { agentDir } = this.#parts.spool
    const reason = `the disk of ${agentDir} is full: no more jobs are taken until there is room`
    return { ...report, available: false, missing: [reason, ...report.missing].slice(0, 32) }
  }

  #events(): SessionEvents {
    return {
      held: () => this.#delivery.held(),
      reconciled: (session, jobs) => {
        // First, as what is dropped may let slots be granted.
        this.#runner.regrant()
        for (const job of jobs) {
          if (job.verdict === 'drop') this.#runner.drop(job)
          else if (job.cancel) this.#runner.cancel(job)
        }
        this.#delivery.attach(
          session,
          jobs.filter((job) => job.verdict === 'keep'),
        )
        this.#reassignments.attach(session)
        this.#stock.attach((stock) => session.send({ type: 'stock', stock }))
        this.#parts.log.info({ jobs: jobs.length }, 'connected to the API')
      },
      grant: () => this.#runner.grant(),
      received: (message) => this.#received(message),
      answer: (question) => answer(question, this.#parts),
      notUnderstood: (claim, slots) => this.#runner.handBackUnread(claim, slots),
      closed: () => {
        this.#delivery.detach()
        this.#reassignments.detach()
        this.#stock.detach()
      },
    }
  }

  #received(message: JobMessage): void {
    switch (message.type) {
      case 'assign':
        return this.#runner.assign(message.job)
      case 'reassigned':
        return this.#reassignments.answered(message)
      case 'cancel':
        return this.#runner.cancel(message)
      case 'output_stored':
        return this.#delivery.outputStored(message)
      case 'finished':
        return this.#delivery.finished(message)
      case 'returned':
        // Stored or stale, it is no longer ours.
        return
    }
  }

  #keepLease(sentAt: number): void {
    try {
      this.#parts.spool.keepLease(sentAt)
    } catch (error) {
      this.#runner.spoolFailed(error)
    }
  }
}
