import { availableParallelism } from 'node:os'
import { lockDirectory } from '@errand/host/directory-lock'
import { openLogging } from '@errand/host/logging/open-logging'
import packageJson from '../package.json' with { type: 'json' }
import { Agent } from './agent.ts'
import { makeBackends } from './backends/make-backends.ts'
import { bootId } from './boot-id.ts'
import { monotonic } from './connection/monotonic.ts'
import { ServerClock } from './connection/server-clock.ts'
import { enroll } from './enroll.ts'
import { readEnvironment } from './environment.ts'
import { readIdentity, readOrCreateKey } from './identity.ts'
import type { AgentKey, Enrolled } from './identity.ts'
import type { Log } from './log.ts'
import { readPolicy } from './policy.ts'
import { Refused } from './refused.ts'
import { placesFor } from './runner/slots.ts'
import { Spool } from './spool/spool.ts'
import { onStopSignals } from './stop-signals.ts'

/** What an ssh run costs, it costs its target. */
const sshSlots = 16

/** Image downloads and installations at once: they share network and disk. */
const maintenanceSlots = 2

class Misconfigured extends Error {}

const exitCodes = { drained: 0, failed: 1, killed: 1, misconfigured: 2, refused: 3 } as const

try {
  const outcome = await main()
  // A stray handle of a backend must not keep a drained agent alive.
  process.exit(exitCodes[outcome])
} catch (error) {
  process.stderr.write(`errand agent: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(exitCodes[kindOf(error)])
}

async function main(): Promise<'drained' | 'killed'> {
  const environment = orMisconfigured(() => readEnvironment(process.env))
  const { url, agentDir, hostname, time, fakeBackend } = environment
  orMisconfigured(() => lockDirectory(agentDir))
  const policy = orMisconfigured(() => readPolicy(agentDir))
  const logging = openLogging({ main: { file: 'logs/agent.log' } }, { baseDir: agentDir })

  const stop = new AbortController()
  const kill = new AbortController()
  onStopSignals(
    () => stop.abort(),
    () => kill.abort(),
  )
  const key = readOrCreateKey(agentDir)
  const identity = readIdentity(agentDir) ?? (await enrollWith(environment, key, logging.main, stop.signal))
  if (!identity) return 'drained'

  const log = logging.main.child({ agent_id: identity.agent_id })
  const boot = bootId()
  const spool = new Spool(agentDir, boot)
  const slots = {
    run: policy.slots.run ?? availableParallelism(),
    ssh: policy.backends.includes('ssh') ? sshSlots : 0,
    maintenance: maintenanceSlots,
  }
  const clock = new ServerClock(monotonic)
  const backends = makeBackends(
    {
      agentDir,
      spoolId: spool.id,
      slots: placesFor(slots.run),
      maintenanceSlots: placesFor(maintenanceSlots),
      stockChanged: () => agent.stockChanged(),
      now: () => clock.now(),
      policy,
      time,
      log: logging.codeExecutor.child({ agent_id: identity.agent_id }),
    },
    fakeBackend,
  )
  const agent: Agent = new Agent({
    url,
    identity,
    key,
    policy,
    spool,
    bootId: boot,
    backends,
    slots,
    hostname,
    version: packageJson.version,
    time,
    monotonic,
    clock,
    random: Math.random,
    log,
  })
  stop.signal.addEventListener('abort', () => agent.drain())
  kill.signal.addEventListener('abort', () => agent.kill())
  if (stop.signal.aborted) return 'drained'
  if (isOpenToOthers(url)) log.warn({ url }, 'the link to the API is not encrypted: use https')
  log.info({ url, agent: identity.name, slots }, 'the agent starts')
  await agent.run()
  logging.close()
  return kill.signal.aborted ? 'killed' : 'drained'
}

/** Undefined when it was asked to stop before the API answered. */
async function enrollWith(
  { url, agentDir, agentName, enrollmentToken, time }: ReturnType<typeof readEnvironment>,
  key: AgentKey,
  log: Log,
  signal: AbortSignal,
): Promise<Enrolled | undefined> {
  if (enrollmentToken === undefined)
    throw new Misconfigured(`no agent is enrolled in ${agentDir}: set ERRAND_ENROLLMENT_TOKEN to enrol one`)
  try {
    return await enroll({ url, agentDir, token: enrollmentToken, name: agentName, key, time, log, signal })
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}

function isOpenToOthers(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && !/^(localhost|127\..*|\[::1\])$/.test(hostname)
}

function orMisconfigured<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new Misconfigured(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

function kindOf(error: unknown): keyof typeof exitCodes {
  if (error instanceof Misconfigured) return 'misconfigured'
  return error instanceof Refused ? 'refused' : 'failed'
}
