import { randomInt, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy, scaleTime } from '@errand/shared'
import type { Assignment, SubmissionBody, TimeConstants } from '@errand/shared'
import { Agent } from '../agent.ts'
import type { Backend } from '../backends/backend.ts'
import { createFake } from '../backends/fake/fake.ts'
import { monotonic } from '../connection/monotonic.ts'
import { ServerClock } from '../connection/server-clock.ts'
import { readOrCreateKey } from '../identity.ts'
import type { Log } from '../log.ts'
import { Spool } from '../spool/spool.ts'
import type { ScriptedApi } from './scripted-api.ts'

export const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

export interface AgentUnderTest extends AsyncDisposable {
  agent: Agent
  agentDir: string
  spool: Spool
  /** Settles with what `run` threw. */
  ended: Promise<unknown>
}

/** An agent in this process with the fake backend and two slots, known to the scripted API. */
export function startAgent(
  api: ScriptedApi,
  given: {
    time?: Partial<TimeConstants>
    policy?: object
    slots?: number
    backend?: Partial<Backend>
    /** What an agent that died left in its spool. */
    left?: (spool: Spool) => void
    random?: () => number
  } = {},
): AgentUnderTest {
  const agentDir = mkdtempSync(join(tmpdir(), 'errand-agent-'))
  const key = readOrCreateKey(agentDir)
  const spool = new Spool(agentDir, 'boot-1')
  given.left?.(spool)
  const backend = { ...createFake(), ...given.backend }
  const agent = new Agent({
    clock: new ServerClock(monotonic),
    url: api.url,
    identity: api.know(key.publicKey),
    key,
    policy: agentPolicy.parse(given.policy ?? {}),
    spool,
    bootId: 'boot-1',
    backends: { [backend.type]: backend },
    slots: { run: given.slots ?? 2, ssh: 0, maintenance: 2 },
    hostname: 'host',
    version: '0',
    time: { ...scaleTime(1), reconnectMinMs: 20, handshakeMs: 500, ...given.time },
    monotonic,
    random: given.random ?? Math.random,
    log: silent,
  })
  const ended = agent.run().then(
    () => undefined,
    (error: unknown) => error,
  )
  return {
    agent,
    agentDir,
    spool,
    ended,
    [Symbol.asyncDispose]: async () => {
      agent.kill()
      await ended
      rmSync(agentDir, { recursive: true, force: true })
    },
  }
}

/** An assignment of a fake program. */
export function assignment(
  steps: object[],
  more: Partial<Assignment> & { submission?: Partial<SubmissionBody>; script?: object } = {},
): Assignment {
  const { submission, script, ...rest } = more
  return {
    id: randomUUID(),
    fence: randomInt(1, 2 ** 40),
    type: 'code.execute',
    slot_class: 'run',
    attempt: 0,
    attempts_left: false,
    submitted_at_ms: Date.now(),
    executor: {
      executor_type: 'localhost',
      name: 'local',
      config_id: randomUUID(),
      source: 'default',
      settings: {},
    },
    runtime: 'python',
    limits: { timeout_sec: 30, output_limit_kb: 1024 },
    required_limits: [],
    request: { executor: 'local', code: JSON.stringify({ steps, ...script }), ...submission },
    ...rest,
  }
}
