import { createHash, randomBytes } from 'node:crypto'
import {
  dockerExecutor,
  localhostExecutor,
  scaleTime,
  submission,
  type AgentReport,
  type DockerExecutor,
  type ExecutorSettings,
  type Held,
  type LocalhostExecutor,
  type MaintenanceType,
  type RunResult,
  type SubmissionBody,
} from '@errand/shared'
import { createSecrets } from '../secrets/secrets.ts'
import { claim } from './claim.ts'
import type { Database } from './database.ts'
import { createEnrollmentToken, enroll } from './enrollment-tokens.ts'
import { createExecutor, patchExecutor, type ExecutorRow } from './executors.ts'
import { createFinish, type FinishItem } from './finish.ts'
import { newId } from './new-id.ts'
import { createQueueFor } from './queues.ts'
import { readExecutions } from './read-execution.ts'
import { openSession } from './sessions.ts'
import { submitJob } from './submit-job.ts'
import { createSubmit, type NewExecution, type Offer } from './submit.ts'

export type Scene = Awaited<ReturnType<typeof openScene>>

/** An executor (docker's, with an image) with its queue and an agent in session, of which nothing else in the database knows. */
export async function openScene(
  db: Database,
  given: Partial<LocalhostExecutor> | (Partial<DockerExecutor> & { image: string }) = {},
) {
  const time = scaleTime(0.1)
  const secrets = await createSecrets(`test:${new Uint8Array(32).fill(1).toBase64()}`)
  const settings = settingsOf(given)
  let executor = storedOr(await createExecutor(db, secrets, { name: unique('executor'), settings }))
  const queueId = await createQueueFor(db)(executor.executor_id, {})
  const submit = createSubmit(db)
  const finish = createFinish(db, time)
  const keyId = newId()
  const project = unique('project')
  let agentId = await enrollAgent(db)
  let epoch = await connect()

  return {
    time,
    queueId,
    project,
    keyId,
    submit,
    finish,
    item,
    submitOne,
    submitAndClaim,
    claimOf,
    offer,
    claim: (slots: number) => claim(db, { agentId, epoch, queues: [queueId], slots }),
    finishItem,
    reconnect,
    read,
    patch,
    ask,
    useOtherAgent,
    get executor() {
      return executor
    },
    get agentId() {
      return agentId
    },
    get epoch() {
      return epoch
    },
  }

  function item(body: Partial<SubmissionBody> = {}, more: Partial<NewExecution> = {}): NewExecution {
    return {
      id: newId(),
      project,
      keyId,
      idempotency: undefined,
      executor,
      queueId,
      runtime: 'python',
      limits: { timeout_sec: 30, output_limit_kb: 64 },
      requiredLimits: [],
      submission: submission.parse({ executor: 'any', code: 'print(1)', ...body }),
      ...more,
    }
  }

  async function submitOne(body: Partial<SubmissionBody> = {}, more: Partial<NewExecution> = {}) {
    const submitted = await submit(item(body, more))
    if (submitted.kind !== 'stored') throw new Error(submitted.kind)
    return submitted.job
  }

  async function submitAndClaim(body: Partial<SubmissionBody> = {}, more: Partial<NewExecution> = {}) {
    const { id } = await submitOne(body, more)
    const [claimed] = await claim(db, { agentId, epoch, queues: [queueId], slots: 1 })
    if (claimed?.id !== id) throw new Error('another job was claimed')
    return claimed
  }

  function offer(more: Partial<Offer> = {}): { offer: Offer } {
    return { offer: { agentId, epoch, queues: [queueId], ...more } }
  }

  function claimOf({ id, fence }: { id: string; fence: number }) {
    return { id, fence, agentId, epoch }
  }

  function finishItem(
    of: { id: string; fence: number },
    result: Partial<RunResult> = {},
    output: { stdout?: Uint8Array; stderr?: Uint8Array; sentStdout?: number } = {},
  ): FinishItem {
    const { stdout = new Uint8Array(), stderr = new Uint8Array(), sentStdout = 0 } = output
    return {
      ...claimOf(of),
      result: { ...succeeded(), stdout: totals(stdout), stderr: totals(stderr), ...result },
      inlineStdout: stdout.subarray(sentStdout),
      inlineStderr: stderr,
    }
  }

  async function reconnect(ids: { bootId?: string; spoolId?: string } = {}) {
    epoch = await connect(ids)
    return epoch
  }

  /** Its executor in a new version. */
  async function patch(patch: Record<string, unknown>) {
    const validate = (merged: Record<string, unknown>) => settingsOf(merged)
    executor = storedOr(await patchExecutor(db, secrets, { name: executor.name, patch, validate }))
  }

  /** A maintenance job, as `POST /jobs` stores it. */
  async function ask(type: MaintenanceType, dependencies: string[] = []) {
    const submitted = await submitJob(db, {
      id: newId(),
      project,
      keyId,
      idempotency: undefined,
      executor,
      type,
      runtime: 'python',
      params: {
        code_executor: executor.name,
        ...(type === 'runtime.install' && { runtime: 'python', dependencies }),
      },
      timeoutSec: 60,
      maxAttempts: 2,
    })
    if (submitted.kind !== 'stored') throw new Error(submitted.kind)
    return submitted.job
  }

  /** From now on another agent is meant. */
  async function useOtherAgent() {
    agentId = await enrollAgent(db)
    epoch = await connect()
  }

  async function connect({ bootId = 'boot', spoolId = 'spool' } = {}): Promise<number> {
    const session = await openSession(db, { agentId, bootId, spoolId, report, leaseMs: 60_000 })
    if (typeof session === 'string') throw new Error(session)
    return session.epoch
  }

  async function read(id: string) {
    const [row] = await readExecutions(db, [id])
    return row!
  }
}

function settingsOf(parts: Record<string, unknown>): ExecutorSettings {
  const { executor_type: _, ...given } = parts
  return 'image' in given
    ? { executor_type: 'docker', ...dockerExecutor.parse(given) }
    : { executor_type: 'localhost', ...localhostExecutor.parse(given) }
}

function storedOr(executor: ExecutorRow | string): ExecutorRow {
  if (typeof executor === 'string') throw new Error(executor)
  return executor
}

export async function enrollAgent(db: Database): Promise<string> {
  const { token } = await createEnrollmentToken(db, { labels: {}, expiresInSec: 60 })
  const enrolled = await enroll(db, {
    token,
    name: unique('agent'),
    publicKey: randomBytes(32).toString('base64'),
  })
  if (typeof enrolled === 'string') throw new Error(enrolled)
  return enrolled.agentId
}

export function held(of: { id: string; fence: number }, state: Held['state']): Held {
  return { id: of.id, fence: of.fence, state }
}

export function totals(bytes: Uint8Array) {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { bytes: bytes.length, stored: bytes.length, truncated: false, sha256 }
}

export function succeeded(): RunResult {
  const now = Date.now()
  return {
    outcome: 'succeeded',
    phase: 'run',
    exit_code: 0,
    signal: null,
    out_of_memory: false,
    error: null,
    runtime_id: 'python3.11.2',
    hostname: 'host',
    container_id: null,
    start_time_ms: now - 20,
    end_time_ms: now,
    duration_sec: 0.02,
    prepare_ms: 1,
    run_ms: 20,
    usage: { cpu_time_sec: 0.01, peak_memory_mb: 8 },
    isolation: null,
    compile: null,
    brought: null,
    stdout: totals(new Uint8Array()),
    stderr: totals(new Uint8Array()),
  }
}

export const report: AgentReport = {
  hostname: 'host',
  version: '0',
  platform: 'linux x64',
  backends: {},
  runtimes: {},
  slots: { run: 2, ssh: 0, maintenance: 0 },
}

function unique(kind: string): string {
  return `${kind}-${randomBytes(6).toString('hex')}`
}
