import { z } from 'zod'
import { agentStock } from '../agent-stock.ts'
import { agentReport } from '../agent.ts'
import { checkReport } from '../executor-check.ts'
import { jobProgress, maintenanceType } from '../job.ts'
import { assignedExecutor, assignment } from './assignment.ts'
import { runResult } from './result.ts'

/** Spoken by both sides; fields are added, never changed. The WebSocket subprotocol is `errand.agent.v1`. */
export const protocolVersion = 1
export const subprotocol = 'errand.agent.v1'

const id = z.uuid()
const fence = z.int()
const stream = z.enum(['stdout', 'stderr'])
export type Stream = z.infer<typeof stream>
/** Bytes stored so far, per stream: where the agent goes on after a lost connection. */
const offsets = z.object({ stdout: z.int(), stderr: z.int() })
export type Offsets = z.infer<typeof offsets>

/**
 * What an agent holds. `accepted`: not started; `starting`: the program may have run; `ended`: its result waits
 * to be delivered. `agent_died`, of what is `accepted`: so did the process that had received it. It will not be started
 * by this claim, and a job that is found so again and again is one that agents die of.
 */
export const held = z.object({
  id,
  fence,
  state: z.enum(['accepted', 'starting', 'ended']),
  agent_died: z.literal(true).optional(),
})
export type Held = z.infer<typeof held>

/**
 * From the agent. The order at a connect: `hello` answers `challenge`; `welcome` gives the epoch; `inventory`
 * lists all that is held; only after `reconciled` do credits count.
 */
export const agentMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    agent_id: id,
    protocol: z.int(),
    /** Changes when the host boots, and when the spool is made anew: what was held then counts as started. */
    boot_id: z.string().max(64),
    spool_id: z.string().max(64),
    /** Ed25519 over `signedHello`, base64. */
    signature: z.string().max(128),
    report: agentReport,
  }),
  z.object({ type: z.literal('inventory'), held: z.array(held) }),
  /** Adds to the slots the API may fill, per class. */
  z.object({
    type: z.literal('credits'),
    run: z.int().min(0),
    ssh: z.int().min(0),
    maintenance: z.int().min(0),
  }),
  /** The ids and fences held; what was assigned for longer than a renewal period and is not among them is sent again. */
  z.object({ type: z.literal('renew'), sequence: z.int(), held: z.array(held) }),
  z.object({ type: z.literal('started'), id, fence }),
  /**
   * The agent holds this claim and has its assignment no more, as it was started anew: secrets are never spooled. Asked
   * once a session, and answered by `reassigned`; where that is lost, the next session asks again.
   */
  z.object({ type: z.literal('reassign'), id, fence }),
  /** Payload: the bytes at `offset`. */
  z.object({ type: z.literal('output'), id, fence, stream, offset: z.int() }),
  /**
   * Payload: the output that was not sent before, stdout's bytes then stderr's; `inline` says how many each.
   * Accepted only when what is then stored has the totals and checksums of `result`.
   */
  z.object({ type: z.literal('finish'), id, fence, inline: offsets, result: runResult }),
  /** Handed back unstarted, with the reason in words. */
  z.object({ type: z.literal('return'), id, fence, reason: z.string().max(1_000) }),
  /** Handed back unstarted: what it needs is not here, and a job of that type would bring it. Answered by `returned`. */
  z.object({ type: z.literal('lock'), id, fence, need: maintenanceType, reason: z.string().max(1_000) }),
  /** How far a maintenance job is. Not answered; one that is lost is made good by the next. */
  z.object({ type: z.literal('progress'), id, fence, progress: jobProgress }),
  /** What lies on the agent's host, whenever that has changed. Not answered; told anew at each connect. */
  z.object({ type: z.literal('stock'), stock: agentStock }),
  /** The answer to `check`. */
  z.object({ type: z.literal('checked'), request_id: id, report: checkReport }),
  /** The answer to `host_key`: the public key lines that the target presents, or why it could not be asked. */
  z.object({
    type: z.literal('host_key_seen'),
    request_id: id,
    keys: z.array(z.string().max(16_384)).max(16),
    error: z.string().max(1_000).nullable(),
  }),
])
export type AgentMessage = z.infer<typeof agentMessage>

/** From the API. Verdicts come only after commit. */
export const apiMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('challenge'), nonce: z.string(), server_id: id }),
  z.object({
    type: z.literal('welcome'),
    epoch: z.int(),
    protocol: z.int(),
    /** The database's clock, Unix milliseconds. */
    server_time_ms: z.number(),
  }),
  /** `keep`: go on, the server has this much output. `drop`: no longer yours; end it and forget it. */
  z.object({
    type: z.literal('reconciled'),
    jobs: z.array(z.object({ id, fence, verdict: z.enum(['keep', 'drop']), cancel: z.boolean(), offsets })),
  }),
  z.object({ type: z.literal('renewed'), sequence: z.int(), server_time_ms: z.number() }),
  z.object({ type: z.literal('assign'), job: assignment }),
  /** The assignment of a claim as it was sent at first; null: it is not this session's any more, or cannot be read. */
  z.object({ type: z.literal('reassigned'), id, fence, job: assignment.nullable() }),
  z.object({ type: z.literal('cancel'), id, fence }),
  /** `stale`: the claim is no longer this agent's. */
  z.object({
    type: z.literal('output_stored'),
    id,
    fence,
    stream,
    verdict: z.enum(['stored', 'stale']),
    next_offset: z.int(),
  }),
  /** `incomplete`: totals or checksums differ from what is stored; send again from `offsets`. */
  z.object({
    type: z.literal('finished'),
    id,
    fence,
    verdict: z.enum(['stored', 'already', 'stale', 'incomplete']),
    offsets: offsets.optional(),
  }),
  z.object({ type: z.literal('returned'), id, fence, verdict: z.enum(['stored', 'stale']) }),
  /**
   * Questions: would code run on this executor now; which host keys does this target present. Answered once, within
   * `checkMs`, in any order; one whose answer is lost is asked anew by whoever still wants to know.
   */
  z.object({ type: z.literal('check'), request_id: id, ...assignedExecutor.shape }),
  z.object({ type: z.literal('host_key'), request_id: id, host: z.string(), port: z.int() }),
  /**
   * The API is about to close this socket: it goes down, or too many have come at once. Come back after so many
   * milliseconds, to whichever replica then answers. Where it is lost, or not known, the reconnect window holds.
   */
  z.object({ type: z.literal('reconnect'), reconnect_in_ms: z.number().min(0) }),
])
export type ApiMessage = z.infer<typeof apiMessage>

/** WebSocket close codes of the agent link, beside the standard ones. */
export const closeCode = {
  protocolError: 1002,
  policyViolation: 1008,
  tooBig: 1009,
  restarting: 1012,
  tryLater: 1013,
  replaced: 4001,
  unsupportedVersion: 4002,
  refused: 4003,
} as const

/** The bytes an agent signs: everything a replay or a downgrade would have to change. */
export function signedHello(given: {
  nonce: string
  server_id: string
  agent_id: string
  protocol: number
}): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(
    ['errand agent hello', given.protocol, given.server_id, given.agent_id, given.nonce].join('\n'),
  )
}
