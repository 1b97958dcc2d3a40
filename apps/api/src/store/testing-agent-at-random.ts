import type { Held, JobProgress, JobType, MaintenanceType, Outcome } from '@errand/shared'
import { emptyResult } from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import { claim, type Claim } from './claim.ts'
import type { Database } from './database.ts'
import type { Finish } from './finish.ts'
import { handBack } from './hand-back.ts'
import { keepProgress } from './keep-progress.ts'
import { lock } from './lock.ts'
import { reconcile } from './reconcile.ts'
import { openSession } from './sessions.ts'
import { markRunning } from './start.ts'
import { report, totals } from './testing-scene.ts'

export interface HistoryParts {
  db: Database
  finish: Finish
  random: Random
  time: { retryMinMs: number; retryMaxMs: number }
  /** Messages that come later than others, of any agent. */
  late: (() => Promise<unknown>)[]
  /** What agents did, for the judgement at the end. */
  seen: {
    starts: Map<string, number>
    /** `<fence> <outcome>` */
    told: Map<string, Set<string>>
    /** By execution or part: what it was locked by last. */
    lockedBy: Map<string, string>
  }
}

export interface Random {
  chance(share: number): boolean
  below(bound: number): number
  pick<T>(of: readonly T[]): T | undefined
}

interface HeldJob {
  id: string
  fence: number
  type: JobType
  /** What must be there before it can start, in this order. */
  needs: { need: MaintenanceType; key: string }[]
  brings: string | undefined
  state: Held['state']
  /** With it its agent's process, before it had started it. */
  agentDied: boolean
  canceled: boolean
  outcome: Outcome | undefined
}

const offered = { available: true, isolation: null, missing: [] }

const brought = { digest: null, bytes: 1, already_there: false, took_ms: 1 }

/** `failed` is told of maintenance by no agent that is right in its mind. */
const otherEnds = ['infra_error', 'lost', 'timed_out', 'rejected', 'failed'] as const

export type AgentAtRandom = ReturnType<typeof createAgentAtRandom>

/**
 * An agent that keeps to the protocol as a real one does, says things twice, late or never, and does what it holds in
 * any order. It has what was brought to it until it is evicted.
 */
export function createAgentAtRandom({ db, finish, random, time, late, seen }: HistoryParts, agentId: string) {
  const held = new Map<string, HeldJob>()
  const present = new Set<string>()
  let epoch = 0
  let spoolId = 'spool'
  /** It has a session in which it may say something. */
  let attached = false
  let connecting = false
  let revoked = false

  return {
    agentId,
    connect,
    cutOff,
    revoke: () => {
      revoked = true
      cutOff()
    },
    claimSome,
    work,
    hearOfCancels,
    meddle,
    evict: () => present.clear(),
    get held() {
      return held.size
    },
    get usable() {
      return !revoked
    },
    get attached() {
      return attached
    },
  }

  /** Its lease is over, or its link: it starts and says nothing more before its next session. */
  function cutOff(): void {
    attached = false
  }

  /** Without `certain` it has lost its spool: of what it held it knows nothing. */
  async function connect({ certain }: { certain: boolean }): Promise<void> {
    if (revoked || connecting) return
    connecting = true
    attached = false
    try {
      if (!certain) {
        spoolId += 'x'
        held.clear()
      }
      const session = await openSession(db, {
        agentId,
        bootId: 'boot',
        spoolId,
        report: { ...report, backends: { localhost: offered, docker: offered } },
        leaseMs: 600_000,
      })
      if (typeof session === 'string') return
      epoch = session.epoch
      // Now and then it is a new process, which starts nothing of what the one before had accepted.
      if (random.chance(0.2))
        for (const job of held.values()) if (job.state === 'accepted') job.agentDied = true
      const inventory = [...held.values()].map(({ id, fence, state, agentDied }) => ({
        id,
        fence,
        state,
        ...(agentDied && { agent_died: true as const }),
      }))
      const reconciled = await reconcile(db, {
        agentId,
        epoch,
        certain: session.certain,
        held: inventory,
        time,
      })
      if (epoch !== session.epoch || revoked) return
      attached = true
      for (const { id, fence, verdict, cancel } of reconciled.jobs) {
        const job = held.get(keyOf({ id, fence }))
        if (verdict === 'drop') held.delete(keyOf({ id, fence }))
        else if (job === undefined) await returned({ id, fence })
        else if (cancel) job.canceled = true
      }
    } finally {
      connecting = false
    }
  }

  async function claimSome(queues: readonly number[], slots: number): Promise<void> {
    const asOf = epoch
    const claims = await claim(db, { agentId, epoch: asOf, queues, slots })
    for (const one of claims) {
      // Its assignment never came.
      if (epoch !== asOf || random.chance(0.05)) continue
      held.set(keyOf(one), heldJobOf(one))
    }
  }

  /** One step of one job that it holds; false when it holds none. With `calmly` everything succeeds. */
  async function work(calmly = false): Promise<boolean> {
    const job = random.pick([...held.values()].filter(({ agentDied }) => !agentDied))
    if (job === undefined) return false
    const chance = (share: number) => !calmly && random.chance(share)
    if (job.state === 'ended') await tellEnd(job)
    else if (job.canceled) await end(job, 'canceled')
    else if (job.state === 'starting') {
      if (job.type !== 'code.execute' && random.chance(0.3)) await tellProgress(job)
      else if (chance(0.2)) await end(job, random.pick(otherEnds)!)
      else await end(job, 'succeeded')
    } else if (chance(0.1)) await returned(job)
    else await startOrLock(job)
    return true
  }

  async function startOrLock(job: HeldJob): Promise<void> {
    // It starts nothing without a lease.
    if (!attached) return
    const { id, fence } = job
    const lacking = job.needs.find(({ key }) => !present.has(key))
    if (lacking !== undefined) {
      held.delete(keyOf(job))
      const given = claimOf(job)
      return send(() => lockFor(given, lacking.need))
    }
    job.state = 'starting'
    seen.starts.set(id, (seen.starts.get(id) ?? 0) + 1)
    const started = claimOf({ id, fence })
    if (random.chance(0.5)) await send(() => markRunning(db, started))
  }

  async function lockFor(claim: ClaimOf, need: MaintenanceType): Promise<void> {
    const { job } = await lock(db, { ...claim, need, reason: 'it is not here' })
    if (typeof job?.locked_by === 'string') seen.lockedBy.set(job.id, job.locked_by)
  }

  async function end(job: HeldJob, outcome: Outcome): Promise<void> {
    job.state = 'ended'
    job.outcome = outcome
    if (outcome === 'succeeded' && job.brings !== undefined) present.add(job.brings)
    await tellEnd(job)
  }

  function tellEnd(job: HeldJob): Promise<void> {
    const { id, type, fence } = job
    const outcome = job.outcome!
    const of = seen.told.get(id) ?? new Set()
    seen.told.set(id, of.add(`${fence} ${outcome}`))
    const given = claimOf(job)
    const whole = outcome === 'succeeded'
    const result = {
      ...emptyResult('host'),
      outcome,
      stdout: totals(new Uint8Array()),
      stderr: totals(new Uint8Array()),
      exit_code: whole ? 0 : null,
      phase: 'run' as const,
      start_time_ms: Date.now(),
      end_time_ms: Date.now(),
      error: whole ? null : `told ${outcome}`,
      brought: whole && type !== 'code.execute' ? brought : null,
    }
    return send(async () => {
      const nothing = new Uint8Array()
      const { verdict } = await finish({ ...given, result, inlineStdout: nothing, inlineStderr: nothing })
      if (verdict !== 'incomplete') held.delete(keyOf(job))
    })
  }

  function tellProgress(job: HeldJob): Promise<void> {
    const given = { ...claimOf(job), progress: progress(random.below(100)) }
    return send(() => keepProgress(db, given))
  }

  function returned(job: Pick<HeldJob, 'id' | 'fence'>): Promise<void> {
    held.delete(keyOf(job))
    const given = claimOf(job)
    return send(() => handBack(db, { ...given, reason: 'not now' }))
  }

  async function meddle(job: { id: string; fence: number }): Promise<void> {
    if (held.has(keyOf(job)) || epoch === 0) return
    const given = claimOf(job)
    await random.pick([
      () => lockFor(given, 'runtime.install'),
      () => lockFor(given, 'docker_image.download'),
      () => handBack(db, { ...given, reason: 'meddled' }),
      () => keepProgress(db, { ...given, progress: progress(100) }),
    ])!()
  }

  async function hearOfCancels(): Promise<void> {
    const asked = await db.query<{ id: string; fence: number }>(
      `select id, fence from jobs where agent_id = $1 and status = 'canceling'`,
      [agentId],
    )
    for (const one of asked) {
      const job = held.get(keyOf(one))
      if (job) job.canceled = true
      // Its assignment was lost.
      else if (attached && random.chance(0.3)) await returned(one)
    }
  }

  /** Once, twice, much later, or not at all. What is said without a session is not said. */
  async function send(say: () => Promise<unknown>): Promise<void> {
    if (!attached || random.chance(0.05)) return
    if (random.chance(0.1)) late.push(say)
    if (random.chance(0.05)) {
      late.push(say)
      return
    }
    await say()
    if (random.chance(0.1)) await say()
  }

  function claimOf({ id, fence }: Pick<HeldJob, 'id' | 'fence'>) {
    return { id, fence, agentId, epoch }
  }
}

function heldJobOf({ id, fence, execution, request }: Claim): HeldJob {
  const { type, executor_type, config_id } = execution
  const { dependencies = [] } = request as { dependencies?: string[] }
  const image = { need: 'docker_image.download' as const, key: 'image' }
  const set = { need: 'runtime.install' as const, key: `set ${config_id} ${dependencies.toSorted().join()}` }
  const needs = executor_type === 'docker' && type !== 'docker_image.download' ? [image] : []
  return {
    id,
    fence,
    type,
    needs: type === 'code.execute' && dependencies.length > 0 ? [...needs, set] : needs,
    brings: { 'docker_image.download': image.key, 'runtime.install': set.key, 'code.execute': undefined }[
      type
    ],
    state: 'accepted',
    agentDied: false,
    canceled: false,
    outcome: undefined,
  }
}

function progress(percent: number): JobProgress {
  return { phase: 'installing', bytes_done: percent, bytes_total: 100, percent, bytes_per_sec: null }
}

function keyOf({ id, fence }: Pick<HeldJob, 'id' | 'fence'>): string {
  return `${id} ${fence}`
}
