import { Hono } from 'hono'
import { requestId } from 'hono/request-id'
import type { TimeConstants } from '@errand/shared'
import { answerError } from './http/answer-error.ts'
import { authenticate } from './http/authenticate.ts'
import { answerUnrouted } from './http/answer-unrouted.ts'
import type { AppEnv } from './http/app-env.ts'
import { logRequest } from './http/log-request.ts'
import { plainHeaders } from './http/plain-headers.ts'
import type { CheckExecutor } from './dispatch/check-executor.ts'
import type { Dispatch } from './dispatch/dispatch.ts'
import type { SeeHostKeys } from './dispatch/see-host-keys.ts'
import type { Live } from './live/live.ts'
import { createReadRow } from './live/read-row.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics/metrics.ts'
import { agentRoutes } from './routes/agents.ts'
import { agentConnectRoute } from './routes/agent-connect.ts'
import { agentWorkRoutes } from './routes/agent-work.ts'
import { enrollRoute } from './routes/enroll.ts'
import { enrollmentTokenRoutes } from './routes/enrollment-tokens.ts'
import { executionEventsRoute } from './routes/execution-events.ts'
import { executionOutputRoutes } from './routes/execution-output.ts'
import { executionRoutes } from './routes/executions.ts'
import { createExecutorCache } from './routes/executor-cache.ts'
import { executorCheckRoute } from './routes/executor-check.ts'
import { executorHostKeyRoute } from './routes/executor-host-key.ts'
import { executorRoutes } from './routes/executors.ts'
import { healthRoutes } from './routes/health.ts'
import { jobLogsRoute } from './routes/job-logs.ts'
import { jobTypesRoute } from './routes/job-types.ts'
import { jobRoutes } from './routes/jobs.ts'
import { metricsRoute } from './routes/metrics.ts'
import { rootRoute } from './routes/root.ts'
import { runtimeRoutes } from './routes/runtimes.ts'
import { statsRoute } from './routes/stats.ts'
import { submitRoute } from './routes/submit-execution.ts'
import { submitJobRoute } from './routes/submit-job.ts'
import { versionRoute } from './routes/version.ts'
import type { Secrets } from './secrets/secrets.ts'
import type { VerifyKey } from './store/api-keys.ts'
import type { Database } from './store/database.ts'
import type { QueueFor } from './store/queues.ts'
import { readLoad } from './store/read-load.ts'
import { readSeldom } from './store/read-seldom.ts'
import type { Submit } from './store/submit.ts'

/** All that the app is made of. It holds no state that matters: any replica may die and another goes on. */
export interface Parts {
  db: Database
  submit: Submit
  verifyKey: VerifyKey
  queueFor: QueueFor
  secrets: Secrets
  live: Live
  dispatch: Pick<Dispatch, 'kick' | 'freed' | 'poll' | 'cancel' | 'setLabels' | 'revoke' | 'here'>
  metrics: Metrics
  /** Brings maintenance on, after whatever may have changed who waits for whom. Never rejects. */
  settle: () => Promise<void>
  checkExecutor: CheckExecutor
  seeHostKeys: SeeHostKeys
  time: TimeConstants
  log: Log
  version: string
  serverId: string
  /** What links are made of, never the Host header. */
  publicUrl: string
  /** Whether this replica should get requests: the database answers, and it is not going down. */
  ready(): boolean
  /** Aborted when this replica goes down: requests that wait are answered, streams end and are resumed elsewhere. */
  closing: AbortSignal
}

/** The REST API. Knows nothing of Node: anything that can hand it a `Request` can serve it. */
export function createApp(parts: Parts): Hono<AppEnv> {
  const app = new Hono<AppEnv>()
  app.onError(answerError(parts.log))
  app.notFound(answerUnrouted(app))
  app.use(requestId(), logRequest(parts.log), plainHeaders(parts.publicUrl))

  // Keyless (promise 9): routes are tried in this order, so only what stands above the authenticator is.
  for (const routes of [
    rootRoute(),
    healthRoutes(parts),
    enrollRoute(parts),
    agentConnectRoute(),
    agentWorkRoutes(parts),
  ])
    app.route('/', routes)

  app.use(authenticate(parts))
  const executors = createExecutorCache(parts)
  const readRow = createReadRow(parts.db)
  const load = readSeldom(() => readLoad(parts.db), parts.time.figuresEveryMs)
  for (const routes of [
    submitRoute(parts, executors, readRow),
    executionRoutes(parts),
    executionOutputRoutes(parts),
    executionEventsRoute(parts, readRow),
    submitJobRoute(parts, executors),
    jobRoutes(parts),
    jobLogsRoute(parts),
    jobTypesRoute(),
    executorRoutes(parts, executors),
    executorCheckRoute(parts),
    executorHostKeyRoute(parts, executors),
    agentRoutes(parts),
    enrollmentTokenRoutes(parts),
    runtimeRoutes(parts),
    metricsRoute(parts, load),
    statsRoute(parts, load),
    versionRoute(parts),
  ])
    app.route('/', routes)
  return app
}
