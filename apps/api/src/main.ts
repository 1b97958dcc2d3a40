import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigRefused } from '@errand/host/config/config-refused'
import { loadConfig } from '@errand/host/config/load-config'
import type { Settings } from '@errand/host/config/settings'
import { DirectoryLocked } from '@errand/host/directory-lock'
import { openLogging } from '@errand/host/logging/open-logging'
import { readOrCreateSecret } from '@errand/host/secret-file'
import { scaleTime } from '@errand/shared'
import { createApp } from './app.ts'
import { createAskAgent } from './dispatch/ask-agent.ts'
import { createAssignmentOf } from './dispatch/assignment-of.ts'
import { createCheckExecutor } from './dispatch/check-executor.ts'
import { createConfigOf } from './dispatch/config-of.ts'
import { createDispatch } from './dispatch/dispatch.ts'
import { createQuestions } from './dispatch/questions.ts'
import { createSettleMaintenance } from './dispatch/settle-maintenance.ts'
import { createSeeHostKeys } from './dispatch/see-host-keys.ts'
import { createSubmitToAgent } from './dispatch/submit-to-agent.ts'
import { createIngest } from './ingest/ingest.ts'
import { createLive } from './live/live.ts'
import { publishChange } from './live/publish-change.ts'
import {
  countChange,
  countedAssignments,
  countedDatabase,
  countedFinish,
  countedSubmit,
} from './metrics/counted.ts'
import { createMetrics } from './metrics/metrics.ts'
import { socketWithCrashPoints, submitWithCrashPoint } from './node/crash-points.ts'
import { migrate } from './node/migrate.ts'
import { openDatabase } from './node/open-database.ts'
import { openPostgresNotices } from './node/postgres-notices.ts'
import { measureProcess } from './node/process-metrics.ts'
import { repeat } from './node/repeat.ts'
import { startServer } from './node/server.ts'
import { createAskAnywhere } from './replicas/ask-anywhere.ts'
import { createHeed } from './replicas/heed.ts'
import { lookAtAgents } from './replicas/look-at-agents.ts'
import { createOthers } from './replicas/others.ts'
import { tellingDispatch, tellingLive } from './replicas/tell-others.ts'
import { MalformedRing, newKeyRing } from './secrets/key-ring.ts'
import { createSecrets, type Secrets } from './secrets/secrets.ts'
import { createAdmission } from './socket/admission.ts'
import { openSession } from './socket/session.ts'
import { createVerifyKey, ensureAdminKey } from './store/api-keys.ts'
import { beat } from './store/beat.ts'
import { checkKeyRing, OtherKeyRing } from './store/check-key-ring.ts'
import { serverId as readServerId } from './store/control.ts'
import { syncConfigExecutors } from './store/sync-config-executors.ts'
import { createFinish } from './store/finish.ts'
import { newSecret } from './store/hashed-secret.ts'
import { createQueueFor } from './store/queues.ts'
import { createRenew } from './store/sessions.ts'
import { createSubmit } from './store/submit.ts'
import { unansweredCancels } from './store/unanswered-cancels.ts'
import manifest from '../package.json' with { type: 'json' }

/** A request under way at the end of this process is answered within this, or cut. Milliseconds. */
const drainMs = 20_000

await main().catch((error: unknown) => {
  // What the operator has to mend is said in a line; anything else is a defect, with its stack.
  const mended = [ConfigRefused, DirectoryLocked, OtherKeyRing]
  const known = mended.some((one) => error instanceof one) || isListenError(error)
  console.error(known ? `errand: ${(error as Error).message}` : error)
  process.exit(1)
})

async function main(): Promise<void> {
  const { file, settings, executors } = loadConfig({ env: process.env })
  const time = scaleTime(settings.timeScale)
  mkdirSync(settings.dataDir, { recursive: true, mode: 0o700 })
  const logging = openLogging(file.logging, { baseDir: process.cwd() })
  const log = logging.main

  const metrics = createMetrics()
  measureProcess(metrics.registry)
  const db = countedDatabase(
    await openDatabase({ url: settings.databaseUrl, dataDir: settings.dataDir, onCrash: fatal }),
    metrics,
  )
  await migrate(db)
  const secrets = await openSecrets(settings)
  await checkKeyRing(db, secrets)
  await ensureAdminKey(
    db,
    settings.adminKey ??
      readOrCreateSecret(join(settings.dataDir, 'admin-key'), () => newSecret('errand', 'admin')),
  )
  await syncConfigExecutors(db, secrets, executors)
  const serverId = await readServerId(db)

  const others = createOthers({ time, log })
  const finish = countedFinish(createFinish(db, time), metrics)
  const configOf = createConfigOf(db, secrets)
  const assignmentOf = countedAssignments(createAssignmentOf(configOf, secrets), metrics)
  // What is done here alone, beside what the other replicas are told of, too.
  const here = {
    live: createLive((job) => countChange(metrics, job)),
    dispatch: createDispatch({ db, finish, assignmentOf, log: logging.job }),
  }
  const live = tellingLive(here.live, others)
  const dispatch = tellingDispatch(here.dispatch, others)
  const questions = createQuestions({ linkOf: dispatch.linkOf, time })
  const askHere = createAskAgent({ questions, configOf })
  const askAnywhere = createAskAnywhere({ askHere, dispatch, others, time })
  const heed = createHeed({ db, ...here, askAnywhere, log })
  const settle = createSettleMaintenance({ db, live, dispatch, time, log: logging.job })
  const ingest = createIngest({ db, finish, live, dispatch, settle, log: logging.job })
  const renew = createRenew(db, time)
  const admission = createAdmission(time, { now: () => performance.now(), random: Math.random })
  const closing = new AbortController()
  let databaseAnswers = true
  const app = createApp({
    db,
    live,
    dispatch,
    settle,
    checkExecutor: createCheckExecutor({ db, secrets, ask: askAnywhere.ask }),
    seeHostKeys: createSeeHostKeys({ db, ask: askAnywhere.ask }),
    secrets,
    time,
    log,
    metrics,
    submit: countedSubmit(createSubmitToAgent(submitWithCrashPoint(createSubmit(db)), dispatch), metrics),
    verifyKey: createVerifyKey(db),
    queueFor: createQueueFor(db),
    serverId,
    version: manifest.version,
    publicUrl: settings.publicUrl ?? `${settings.tls ? 'https' : 'http'}://${settings.host}:${settings.port}`,
    ready: () => databaseAnswers && !closing.signal.aborted,
    closing: closing.signal,
  })

  const { databaseUrl: url } = settings
  if (url !== undefined) others.listen((events) => openPostgresNotices({ url, time, log }, events), heed)
  await beatOnce()
  const stopBeat = repeat(time.beatEveryMs, beatOnce)
  const stopPoll = repeat(time.pollEveryMs, pollOnce)
  const server = await startServer({
    host: settings.host,
    port: settings.port,
    tls: settings.tls,
    time,
    closing: closing.signal,
    fetch: app.fetch,
    openSession: (socket) =>
      openSession(
        { db, dispatch, questions, ingest, live, metrics, renew, log, admission, time, serverId },
        socketWithCrashPoints(socket),
      ),
  })
  log.info({ host: settings.host, port: server.port, version: manifest.version }, 'listening')
  process.send?.({ listening: server.port })

  process.on('SIGTERM', () => void stop('SIGTERM'))
  process.on('SIGINT', () => void stop('SIGINT'))
  process.on('disconnect', () => void stop('the end of its parent'))

  /** Keeps leases honest, and ends what has expired (architecture.md, "Lease"). */
  async function beatOnce(): Promise<void> {
    try {
      for (const execution of await beat(db, time)) {
        publishChange(live, execution)
        dispatch.freed(execution.queue_id)
      }
      databaseAnswers = true
    } catch (error) {
      databaseAnswers = false
      log.warn({ err: error }, 'the database does not answer')
    }
  }

  async function pollOnce(): Promise<void> {
    try {
      await settle()
      if (others.count !== 0) await lookAtAgents(db, here.dispatch)
      await here.dispatch.poll()
      for (const { agentId, id, fence } of await unansweredCancels(db, { olderThanMs: time.cancelAgainMs }))
        here.dispatch.cancel(agentId, id, fence)
    } catch (error) {
      log.warn({ err: error }, 'could not look for work')
    }
  }

  async function stop(why: string): Promise<void> {
    if (closing.signal.aborted) return
    log.info({}, `stopping: ${why}`)
    closing.abort()
    admission.close()
    dispatch.closeAll(time, Math.random)
    // A balancer needs a while to see that this one is not ready, and until then sends it what others could answer.
    if (others.count !== 0) await sleep(time.notReadyMs)
    await server.close(drainMs)
    stopBeat()
    stopPoll()
    await others.close()
    await db.close()
    logging.close()
    process.exit(0)
  }

  function fatal(error: Error): void {
    log.error({ err: error }, 'the embedded database has ended')
    process.exit(1)
  }
}

async function openSecrets({ secretKey, dataDir }: Settings): Promise<Secrets> {
  const path = join(dataDir, 'secret-key')
  try {
    return await createSecrets(secretKey ?? readOrCreateSecret(path, newKeyRing))
  } catch (error) {
    if (!(error instanceof MalformedRing)) throw error
    throw new ConfigRefused([`${secretKey === undefined ? path : 'ERRAND_SECRET_KEY'}: ${error.message}`])
  }
}

function isListenError(error: unknown): error is Error {
  return error instanceof Error && 'syscall' in error && error.syscall === 'listen'
}
