import { generateKeyPairSync, sign } from 'node:crypto'
import {
  emptyResult,
  type AgentReport,
  type Assignment,
  type Slots,
  type TimeConstants,
} from '@errand/shared'
import { Connection } from '../../apps/agent/src/connection/connection.ts'
import { Lease } from '../../apps/agent/src/connection/lease.ts'
import { monotonic } from '../../apps/agent/src/connection/monotonic.ts'
import { ServerClock } from '../../apps/agent/src/connection/server-clock.ts'
import type { JobMessage, Session, SessionEvents } from '../../apps/agent/src/connection/session.ts'
import type { AgentKey, Enrolled } from '../../apps/agent/src/identity.ts'
import type { Log } from '../../apps/agent/src/log.ts'

export interface Simulation {
  url: string
  time: TimeConstants
  slots: number
  /** It is connected and reconciled, now. */
  connected: () => void
  /** It was assigned this, perhaps not for the first time. */
  assigned: (id: string) => void
}

const silent = () => {}
const log: Log = { debug: silent, info: silent, warn: silent, error: silent }

/**
 * An agent by its own connection, lease and reconnects, of which a thousand fit into a process: it has no backend and
 * no spool, and every job succeeds at once.
 */
export class SimulatedAgent implements SessionEvents {
  readonly #simulation: Simulation
  readonly #connection: Connection
  readonly #lease: Lease
  /** Jobs whose result is not acknowledged yet. */
  readonly #ended = new Map<string, Assignment>()
  #free: number
  #session: Session | undefined

  constructor(simulation: Simulation, identity: Enrolled, key: AgentKey) {
    this.#simulation = simulation
    this.#free = simulation.slots
    const { url, time } = simulation
    this.#lease = new Lease({ time, monotonic, kept: undefined, keep: silent })
    this.#connection = new Connection({
      url,
      time,
      identity,
      key,
      bootId: 'simulated',
      spoolId: 'simulated',
      monotonic,
      random: Math.random,
      clock: new ServerClock(monotonic),
      lease: this.#lease,
      log,
      report: () => Promise.resolve(reportOf(simulation.slots)),
      events: this,
    })
  }

  /** Until it is closed. */
  run(): Promise<void> {
    return this.#connection.run()
  }

  close(): void {
    this.#connection.close()
    this.#lease.close()
  }

  held(): ReturnType<SessionEvents['held']> {
    return [...this.#ended.values()].map(({ id, fence }) => ({ id, fence, state: 'ended' }))
  }

  reconciled(session: Session, jobs: Parameters<SessionEvents['reconciled']>[1]): void {
    this.#session = session
    this.#free = this.#simulation.slots
    for (const { id, verdict } of jobs) {
      const job = this.#ended.get(id)
      if (verdict === 'drop') this.#ended.delete(id)
      else if (job) this.#finish(job)
    }
    this.#free -= this.#ended.size
    this.#simulation.connected()
  }

  grant(): Slots | undefined {
    if (this.#free === 0) return undefined
    const run = this.#free
    this.#free = 0
    return { run, ssh: 0, maintenance: 0 }
  }

  received(message: JobMessage): void {
    if (message.type === 'assign') {
      this.#simulation.assigned(message.job.id)
      this.#ended.set(message.job.id, message.job)
      this.#finish(message.job)
    }
    if (message.type === 'finished' && this.#ended.delete(message.id)) {
      this.#free += 1
      this.#connection.offerCredits()
    }
  }

  answer({ request_id }: Parameters<SessionEvents['answer']>[0]): ReturnType<SessionEvents['answer']> {
    return Promise.resolve({ type: 'host_key_seen', request_id, keys: [], error: 'simulated' })
  }

  notUnderstood(): void {}

  closed(): void {
    this.#session = undefined
  }

  #finish({ id, fence }: Assignment): void {
    const now = Date.now()
    const result = {
      ...emptyResult('simulated'),
      outcome: 'succeeded' as const,
      phase: 'run' as const,
      exit_code: 0,
      start_time_ms: now,
      end_time_ms: now,
      duration_sec: 0,
    }
    this.#session?.send({ type: 'finish', id, fence, inline: { stdout: 0, stderr: 0 }, result })
  }
}

function reportOf(run: number): AgentReport {
  return {
    hostname: 'simulated',
    version: '0',
    platform: 'simulated',
    backends: { localhost: { available: true, isolation: null, missing: [] } },
    runtimes: { python: '3.11.2' },
    slots: { run, ssh: 0, maintenance: 0 },
  }
}

export function newAgentKey(): AgentKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64'),
    sign: (bytes) => sign(null, bytes, privateKey).toString('base64'),
  }
}
