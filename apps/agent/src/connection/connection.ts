import { setTimeout as sleep } from 'node:timers/promises'
import { closeCode } from '@errand/shared'
import type { AgentReport, TimeConstants } from '@errand/shared'
import type { AgentKey, Enrolled } from '../identity.ts'
import type { Log } from '../log.ts'
import { Refused } from '../refused.ts'
import { backendsChanged } from './backends-changed.ts'
import type { Lease } from './lease.ts'
import type { Monotonic } from './monotonic.ts'
import { ReconnectWindow } from './reconnect-window.ts'
import type { ServerClock } from './server-clock.ts'
import { Session } from './session.ts'
import type { SessionEvents } from './session.ts'

export interface ConnectionParts {
  url: string
  identity: Enrolled
  key: AgentKey
  bootId: string
  spoolId: string
  time: TimeConstants
  monotonic: Monotonic
  random: () => number
  clock: ServerClock
  lease: Lease
  log: Log
  /** What the agent can do now; asked before each connect, within much less than a lease. */
  report: () => Promise<AgentReport>
  events: SessionEvents
}

/** Keeps one session with the API at a time: the next begins when the last is over and nothing of it can be heard. */
export class Connection {
  readonly #parts: ConnectionParts
  readonly #closing = new AbortController()
  #session: Session | undefined

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /**
   * Connects, again and again, until `close`.
   *
   * @throws {Refused} when the API knows this agent no more or speaks another protocol
   */
  async run(): Promise<void> {
    const { time, random, report, log, url } = this.#parts
    const window = new ReconnectWindow(time, random)
    let known: AgentReport | undefined
    while (!this.#closing.signal.aborted) {
      const now = known ?? (await report())
      known = undefined
      if (this.#closing.signal.aborted) return
      this.#session = new Session(this.#parts, now)
      void this.#watchBackends(this.#session, now, (changed) => (known = changed))
      const { code, reason, lastedMs, reconnectInMs } = await this.#session.ended
      this.#session = undefined
      if (this.#closing.signal.aborted) return
      if (known) continue
      throwIfRefused(code, reason)
      if (lastedMs > time.stableMs) window.reset()
      // Somebody else has this identity: two that take it from each other do so seldom.
      const isReplaced = code === closeCode.replaced
      if (isReplaced) window.widen()
      const mostMs = isReplaced ? time.reconnectMaxMs : this.#mostMs()
      const waitMs = Math.round(Math.min(reconnectInMs ?? window.next(mostMs), mostMs))
      log.warn({ url, close_code: code, reason, wait_ms: waitMs }, 'not connected to the API; trying again')
      await sleep(waitMs, undefined, { signal: this.#closing.signal }).catch(() => {})
    }
  }

  /**
   * What it holds, or was being given when the connection broke, may be lost with its lease: half of what is left is for the
   * attempt and the next ones. Where the API is away for everybody leases stand still, and once this one has run out
   * there is no haste any more.
   */
  #mostMs(): number {
    const { lease, time } = this.#parts
    return lease.alive ? Math.max(lease.leftMs / 2, time.reconnectMinMs) : time.reconnectMaxMs
  }

  offerCredits(): void {
    this.#session?.offerCredits()
  }

  /** The session is worth nothing any more, such as when its lease has run out: begins a new one. */
  renew(reason: string): void {
    this.#session?.terminate(reason)
  }

  /** What it can do is told at a connect: when that has changed, another session takes the place of this one at once. */
  async #watchBackends(
    session: Session,
    told: AgentReport,
    changed: (now: AgentReport) => void,
  ): Promise<void> {
    const { report, time, log } = this.#parts
    const over = new AbortController()
    void session.ended.then(() => over.abort())
    const given = { everyMs: time.probeEveryMs, signal: over.signal }
    const now = await backendsChanged(told, report, given)
    if (!now) return
    log.info({}, 'what the agent can do has changed: it connects anew')
    changed(now)
    session.terminate('what the agent can do has changed')
  }

  close(): void {
    this.#closing.abort()
    this.#session?.close()
  }
}

function throwIfRefused(code: number, reason: string): void {
  if (code === closeCode.refused)
    throw new Refused(`the API refuses this agent (${reason || 'unknown or revoked'}): enrol it again`)
  if (code === closeCode.unsupportedVersion)
    throw new Refused(`the API speaks another protocol version (${reason}): update the agent`)
}
