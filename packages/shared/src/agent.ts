import { z } from 'zod'
import { agentStock } from './agent-stock.ts'
import { executorType, type ExecutorType } from './executor-config.ts'
import { isolation } from './execution.ts'
import { runtimeName } from './runtimes.ts'
import { labels, name, oneLine, plainText } from './text.ts'

/** What kind of work a slot takes: user code on this host, on ssh targets, or upkeep such as image downloads. */
export const slotClass = z.enum(['run', 'ssh', 'maintenance'])
export type SlotClass = z.infer<typeof slotClass>

/** Of an execution: ssh runs cost the agent's host almost nothing; docker and localhost runs take its cores. */
export function slotClassOf(executorType: ExecutorType): SlotClass {
  return executorType === 'ssh' ? 'ssh' : 'run'
}

export const slots = z.strictObject({
  run: z.int().min(0).max(10_000),
  ssh: z.int().min(0).max(10_000),
  maintenance: z.int().min(0).max(10_000),
})
export type Slots = z.infer<typeof slots>

/** What one backend of an agent can do right now. `missing` says in words what it lacks and what would mend it. */
export const backendReport = z.strictObject({
  available: z.boolean(),
  isolation: isolation.nullable(),
  missing: z.array(oneLine(1_000)).max(32),
})
export type BackendReport = z.infer<typeof backendReport>

/** What an agent says of itself at each connect. */
export const agentReport = z.strictObject({
  hostname: oneLine(253),
  version: oneLine(64),
  platform: oneLine(64),
  backends: z.partialRecord(executorType, backendReport),
  /** The runtimes of this host with their versions: `{ python: "3.11.2" }`. */
  runtimes: z.partialRecord(runtimeName, oneLine(64)),
  slots,
})
export type AgentReport = z.infer<typeof agentReport>

/** `POST /enrollment-tokens`. The token is shown once. */
export const newEnrollmentToken = z.strictObject({
  name: name.optional(),
  labels: labels.default({}),
  expires_in_sec: z.number().min(1).max(604_800).default(3_600),
})

/** `POST /agents/enroll`: keyless, proved by the token. */
export const enrollment = z.strictObject({
  token: plainText(256),
  name,
  /** Ed25519, raw 32 bytes, base64. */
  public_key: z.base64().length(44),
})

/** What enrolment answers. */
export const enrolled = z.strictObject({ agent_id: z.uuid(), name, server_id: z.uuid() })

export const agent = z.strictObject({
  agent_id: z.uuid(),
  name,
  labels,
  status: z.enum(['online', 'offline', 'draining']),
  epoch: z.int(),
  last_seen_at: z.iso.datetime().nullable(),
  created_at: z.iso.datetime(),
  report: agentReport.nullable(),
  jobs_held: z.int(),
  /** Null until it has told. */
  stock: agentStock.nullable(),
})
export type Agent = z.infer<typeof agent>

/** A row of `GET /agents`: what lies on its host may be as large as a frame. */
export const agentSummary = agent.omit({ stock: true })
export type AgentSummary = z.infer<typeof agentSummary>

export const agentPatch = z.strictObject({ name: name.optional(), labels: labels.optional() })
