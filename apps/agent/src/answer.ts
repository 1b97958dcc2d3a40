import { setTimeout as sleep } from 'node:timers/promises'
import type {
  AgentMessage,
  AgentPolicy,
  ApiMessage,
  CheckReport,
  ExecutorType,
  TimeConstants,
} from '@errand/shared'
import type { Backend } from './backends/backend.ts'
import type { Log } from './log.ts'
import { refusal } from './policy.ts'
import { errorText } from './runner/result.ts'

export interface AnswerParts {
  policy: AgentPolicy
  backends: Partial<Record<ExecutorType, Backend>>
  time: TimeConstants
  log: Log
}

type Question<Type extends 'check' | 'host_key'> = Extract<ApiMessage, { type: Type }>
export type Answer = Extract<AgentMessage, { type: 'checked' | 'host_key_seen' }>

/** What the agent answers to a question of the API, within `checkMs`; never rejects. */
export async function answer(
  question: Question<'check'> | Question<'host_key'>,
  parts: AnswerParts,
): Promise<Answer> {
  const { request_id } = question
  if (question.type === 'check')
    return { type: 'checked', request_id, report: fitting(await check(question, parts)) }
  return { type: 'host_key_seen', request_id, ...(await hostKeys(question, parts)) }
}

async function check(question: Question<'check'>, parts: AnswerParts): Promise<CheckReport> {
  const { executor_type } = question.executor
  const refused = refusal(parts.policy, question)
  if (refused !== undefined)
    return failed('policy', refused, "change the executor, or the policy file in the agent's directory")
  const backend = parts.backends[executor_type]
  if (backend === undefined) return failed('agent', `the agent runs no ${executor_type} executors`)
  const { executor, runtime, limits, required_limits } = question
  try {
    const { runtime_id, findings } = await inTime(parts.time, (signal) =>
      backend.check({ executor, runtime, limits, required_limits, signal }),
    )
    const allowed = { what: 'policy', ok: true, detail: "the agent's policy allows it" }
    return { runtime_id, findings: [allowed, ...findings] }
  } catch (error) {
    parts.log.warn({ executor: executor.name, err: error }, 'could not check an executor')
    return failed('agent', messageOf(error))
  }
}

async function hostKeys(
  { host, port }: Question<'host_key'>,
  { policy, backends, time }: AnswerParts,
): Promise<Pick<Extract<Answer, { type: 'host_key_seen' }>, 'keys' | 'error'>> {
  const backend = policy.backends.includes('ssh') ? backends.ssh : undefined
  if (backend?.hostKeys === undefined) return { keys: [], error: 'the agent runs no ssh executors' }
  try {
    return { keys: await inTime(time, (signal) => backend.hostKeys!({ host, port, signal })), error: null }
  } catch (error) {
    return { keys: [], error: shortened(messageOf(error)) }
  }
}

/** A backend is asked to end early, so that what it has found so far still arrives. */
async function inTime<T>({ checkMs }: TimeConstants, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const done = new AbortController()
  const late = sleep(checkMs, undefined, { signal: done.signal, ref: false }).then(() => {
    throw new Error(`it did not answer within ${checkMs / 1000} s`)
  })
  // Aborted once the act is done
  late.catch(() => {})
  try {
    return await Promise.race([act(AbortSignal.timeout(Math.ceil(checkMs * endEarly))), late])
  } finally {
    done.abort()
  }
}

const endEarly = 0.9

function failed(what: string, detail: string, advice?: string): CheckReport {
  return { runtime_id: null, findings: [{ what, ok: false, detail, ...(advice && { advice }) }] }
}

/** What a backend read of other hosts may be of any length and steer terminals. */
function fitting({ runtime_id, findings }: CheckReport): CheckReport {
  return {
    runtime_id: runtime_id?.slice(0, 128) ?? null,
    findings: findings.slice(0, 64).map(({ what, ok, detail, advice }) => ({
      what: what.slice(0, 64),
      ok,
      detail: shortened(detail),
      ...(advice !== undefined && { advice: shortened(advice) }),
    })),
  }
}

function shortened(text: string): string {
  return errorText(text.slice(0, 1_000))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
