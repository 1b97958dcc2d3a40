import {
  type AgentMessage,
  type AgentReport,
  type AgentStock,
  type ApiMessage,
  type Assignment,
  type ExecutionRecord,
  type JobProgress,
  type MaintenanceType,
  type Problem,
  type RunResult,
  dockerExecutor,
  localhostExecutor,
  scaleTime,
} from '@errand/shared'
import { inject } from 'vitest'
import { createDatabase, dropDatabase } from '../../../../infra/create-database.ts'
import { type Parts, createApp } from '../app.ts'
import type { AgentLink } from '../dispatch/agent-link.ts'
import { createAskAgent } from '../dispatch/ask-agent.ts'
import { createAssignmentOf } from '../dispatch/assignment-of.ts'
import { createCheckExecutor } from '../dispatch/check-executor.ts'
import { createConfigOf } from '../dispatch/config-of.ts'
import { createDispatch, type Dispatch } from '../dispatch/dispatch.ts'
import { createQuestions } from '../dispatch/questions.ts'
import { createSettleMaintenance } from '../dispatch/settle-maintenance.ts'
import { createSeeHostKeys } from '../dispatch/see-host-keys.ts'
import { createSubmitToAgent } from '../dispatch/submit-to-agent.ts'
import { createIngest } from '../ingest/ingest.ts'
import { createLive } from '../live/live.ts'
import { countChange, countedAssignments, countedFinish, countedSubmit } from '../metrics/counted.ts'
import { createMetrics } from '../metrics/metrics.ts'
import { migrate } from '../node/migrate.ts'
import { openPglite } from '../node/pglite.ts'
import { openPostgres } from '../node/postgres.ts'
import { createSecrets } from '../secrets/secrets.ts'
import { createApiKey, createVerifyKey } from '../store/api-keys.ts'
import { cancel } from '../store/cancel.ts'
import { serverId } from '../store/control.ts'
import { createEnrollmentToken, enroll } from '../store/enrollment-tokens.ts'
import { insertExecutor } from '../store/executors.ts'
import { createFinish } from '../store/finish.ts'
import { createQueueFor } from '../store/queues.ts'
import { openSession } from '../store/sessions.ts'
import { keepStock } from '../store/stock.ts'
import { createSubmit } from '../store/submit.ts'

type WithoutId<Message> = Message extends AgentMessage ? Omit<Message, 'request_id'> : never
/** What an agent says to a question. */
export type Answer = WithoutId<Extract<AgentMessage, { request_id: string }>>

export type TestApp = Awaited<ReturnType<typeof openTestApp>>

/**
 * The whole API on a real database, without sockets: an agent of the test's own joins the real dispatch and speaks
 * to the real ingest. `close` it when done.
 */
export async function openTestApp(database: 'pglite' | 'postgres' = 'postgres') {
  const logged: { level: string; fields: object; message: string }[] = []
  const url = database === 'postgres' ? await createDatabase(inject('databaseUrl')) : undefined
  const db = url
    ? await openPostgres({ url })
    : await openPglite({
        dataDir: 'memory',
        onCrash: (error) => logged.push({ level: 'error', fields: error, message: 'crash' }),
      })
  await migrate(db)
  const write = (level: string) => (fields: object, message: string) =>
    void logged.push({ level, fields, message })
  const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
  const secrets = await createSecrets(`test:${new Uint8Array(32).fill(7).toBase64()}`)
  const time = scaleTime(0.1)
  const metrics = createMetrics()
  const live = createLive((job) => countChange(metrics, job))
  const finish = countedFinish(createFinish(db, time), metrics)
  const configOf = createConfigOf(db, secrets)
  const assignmentOf = countedAssignments(createAssignmentOf(configOf, secrets), metrics)
  const dispatch = createDispatch({ db, finish, log, assignmentOf })
  const questions = createQuestions({ linkOf: dispatch.linkOf, time })
  const ask = createAskAgent({ questions, configOf })
  const settle = createSettleMaintenance({ db, live, dispatch, time, log })
  const ingest = createIngest({ db, finish, live, dispatch, settle, log })
  const closing = new AbortController()
  const parts: Parts & { dispatch: Dispatch } = {
    db,
    metrics,
    submit: countedSubmit(createSubmitToAgent(createSubmit(db), dispatch), metrics),
    verifyKey: createVerifyKey(db),
    queueFor: createQueueFor(db),
    secrets,
    live,
    dispatch,
    settle,
    checkExecutor: createCheckExecutor({ db, secrets, ask }),
    seeHostKeys: createSeeHostKeys({ db, ask }),
    time,
    log,
    version: '0.0.0-test',
    serverId: await serverId(db),
    publicUrl: 'http://localhost:8080',
    ready: () => true,
    closing: closing.signal,
  }
  const app = createApp(parts)
  await insertExecutor(db, secrets, {
    name: 'local_python',
    source: 'config',
    settings: { executor_type: 'localhost', ...localhostExecutor.parse({}) },
  })
  await insertExecutor(db, secrets, {
    name: 'docker_python',
    source: 'config',
    settings: { executor_type: 'docker', ...dockerExecutor.parse({ image: 'python:3.13-slim' }) },
  })
  const keyOf = async (role: 'admin' | 'runner' | 'viewer', project: string) =>
    (await createApiKey(db, { name: `${role} of ${project}`, role, project })).key
  const keys = {
    admin: await keyOf('admin', 'default'),
    runner: await keyOf('runner', 'default'),
    viewer: await keyOf('viewer', 'default'),
    stranger: await keyOf('runner', 'elsewhere'),
  }

  return { app, parts, logged, keys, closing, request, submit, connectAgent, close }

  /** As the admin, unless another key or none is given. A body that is no string is sent as JSON. */
  async function request(
    method: string,
    path: string,
    given: {
      key?: string | null
      headers?: Record<string, string>
      body?: unknown
      signal?: AbortSignal
    } = {},
  ): Promise<Response> {
    const { key = keys.admin, headers = {}, body, signal } = given
    const raw = typeof body === 'string' || body instanceof Uint8Array
    return await app.request(path, {
      method,
      headers: {
        ...(key !== null && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: raw ? (body as string) : JSON.stringify(body) }),
      ...(signal && { signal }),
    })
  }

  async function submit(body: object = {}, headers: Record<string, string> = {}): Promise<ExecutionRecord> {
    const answer = await request('POST', '/executions', {
      body: { executor: 'local_python', code: 'pass', ...body },
      headers,
    })
    if (!answer.ok) throw new Error(await answer.text())
    return (await answer.json()) as ExecutionRecord
  }

  /**
   * An agent with as many free slots as the test grants it. What it is sent waits in `assigned` and `sent`. What other
   * tests left waiting is canceled first, so that it gets only what comes from now on.
   */
  async function connectAgent(
    slots: number,
    name = `agent-${crypto.randomUUID().slice(0, 8)}`,
    given: {
      labels?: Record<string, string>
      backends?: AgentReport['backends']
      slots?: AgentReport['slots']
      /** How it answers questions; without, it is silent. */
      answer?: (question: ApiMessage) => Answer | Promise<Answer>
    } = {},
  ) {
    const left = await db.query<{ id: string }>("select id from jobs where status = 'waiting'")
    for (const { id } of left) await cancel(db, { id, project: null })
    const { token } = await createEnrollmentToken(db, { labels: given.labels ?? {}, expiresInSec: 60 })
    const publicKey = crypto.getRandomValues(new Uint8Array(32)).toBase64()
    const enrolled = await enroll(db, { token, name, publicKey })
    if (typeof enrolled === 'string') throw new Error(enrolled)
    const { agentId } = enrolled
    const { backends = offering.backends, slots: offered = offering.slots } = given
    const report = { ...offering, backends, slots: offered }
    const session = await openSession(db, {
      agentId,
      bootId: 'boot',
      spoolId: 'spool',
      report,
      leaseMs: 60_000,
    })
    if (typeof session === 'string') throw new Error(session)
    const sent: ApiMessage[] = []
    const assigned: Assignment[] = []
    const closes: number[] = []
    const link: AgentLink = {
      agentId,
      epoch: session.epoch,
      labels: session.labels,
      report,
      send(message) {
        sent.push(message)
        if (message.type === 'assign') assigned.push(message.job)
        if ('request_id' in message) void answer(message)
      },
      close(code) {
        closes.push(code)
        leave()
      },
    }
    dispatch.join(link)
    grant(slots)
    await dispatch.poll()
    return { agentId, name, sent, assigned, closes, grant, start, lack, progress, write, finish, tell, leave }

    async function answer(question: Extract<ApiMessage, { request_id: string }>): Promise<void> {
      const answered = await given.answer?.(question)
      if (answered) questions.answered(link, { ...answered, request_id: question.request_id })
    }

    function leave(): void {
      dispatch.leave(link)
      questions.left(link)
    }

    function grant(run: number, ssh = 0, maintenance = 0): void {
      dispatch.grant(link, { run, ssh, maintenance })
    }

    /** What lies on its host. */
    function tell(stock: AgentStock): Promise<void> {
      return keepStock(db, link, stock)
    }

    /** Hands a job back that it lacks something for. */
    function lack({ id, fence }: Assignment, need: MaintenanceType, reason: string): Promise<void> {
      return ingest.lock(link, { type: 'lock', id, fence, need, reason })
    }

    function progress({ id, fence }: Assignment, given: JobProgress): Promise<void> {
      return ingest.progress(link, { type: 'progress', id, fence, progress: given })
    }

    function start({ id, fence }: Assignment): Promise<void> {
      return ingest.started(link, { type: 'started', id, fence })
    }

    function write(
      { id, fence }: Assignment,
      stream: 'stdout' | 'stderr',
      offset: number,
      bytes: Uint8Array,
    ): Promise<void> {
      return ingest.output(link, { type: 'output', id, fence, stream, offset }, bytes)
    }

    /** Ends a run. `stdout` is all it wrote; the part from `sent` on rides in the message. */
    async function finish(
      { id, fence }: Assignment,
      given: { stdout?: Uint8Array; sent?: number; result?: Partial<RunResult> } = {},
    ): Promise<void> {
      const stdout = given.stdout ?? new Uint8Array(0)
      const inline = stdout.subarray(given.sent ?? 0)
      const message: Extract<AgentMessage, { type: 'finish' }> = {
        type: 'finish',
        id,
        fence,
        inline: { stdout: inline.length, stderr: 0 },
        result: {
          ...succeeded,
          stdout: await totals(stdout),
          stderr: await totals(new Uint8Array(0)),
          ...given.result,
        },
      }
      await ingest.finish(link, message, inline)
      const answered = sent.findLast((one) => one.type === 'finished')
      if (answered?.verdict !== 'stored') throw new Error(`finish: ${JSON.stringify(answered)}`)
    }
  }

  async function close(): Promise<void> {
    closing.abort()
    await db.close()
    if (url) await dropDatabase(url)
  }
}

export async function problemOf(answer: Response): Promise<Problem> {
  return (await answer.json()) as Problem
}

async function totals(bytes: Uint8Array) {
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', Uint8Array.from(bytes))).toHex()
  return { bytes: bytes.length, stored: bytes.length, truncated: false, sha256 }
}

const isolation = {
  sandbox: 'none',
  own_uid: false,
  mount_namespace: false,
  pid_namespace: false,
  network: 'host',
  cgroup: false,
  seccomp: false,
} as const

const offering: AgentReport = {
  hostname: 'test-host',
  version: '0.0.0-test',
  platform: 'linux x64',
  backends: { localhost: { available: true, isolation, missing: [] } },
  runtimes: { python: '3.11.2' },
  slots: { run: 4, ssh: 0, maintenance: 0 },
}

const succeeded: Omit<RunResult, 'stdout' | 'stderr'> = {
  outcome: 'succeeded',
  phase: 'run',
  exit_code: 0,
  signal: null,
  out_of_memory: false,
  error: null,
  runtime_id: 'python3.11.2',
  hostname: 'test-host',
  container_id: null,
  start_time_ms: null,
  end_time_ms: null,
  duration_sec: 0.01,
  prepare_ms: 1,
  run_ms: 10,
  usage: null,
  isolation,
  compile: null,
  brought: null,
}
