import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { submission } from '@errand/shared'
import type { Assignment, Submission, TimeConstants } from '@errand/shared'
import { apiAddress } from '../api-address.ts'

export interface InputParts {
  url: string
  time: TimeConstants
  /** Whether the lease lives: without it nothing is to be fetched, as nothing may start. */
  mayStart(): boolean
}

/** The input can't be had: the job goes back, unstarted. */
export class InputUnavailable extends Error {
  override readonly name = 'InputUnavailable'
}

/**
 * What was submitted: from the assignment, or fetched when it is large. Tries again while the lease lives.
 *
 * @throws {InputUnavailable} in words, and the signal's reason when it is aborted
 */
export async function readInput(
  assignment: Assignment,
  parts: InputParts,
  signal: AbortSignal,
): Promise<Submission> {
  if (assignment.input === undefined) return understand(assignment.request)
  for (let wait = parts.time.retryMinMs / 5; ; wait = Math.min(wait * 2, parts.time.renewEveryMs)) {
    const fetched = await attempt(assignment.id, assignment.input, parts, signal)
    if (typeof fetched !== 'string') return understand(JSON.parse(fetched.text))
    await sleep(wait * (0.5 + Math.random() / 2), undefined, { signal })
    if (!parts.mayStart()) throw new InputUnavailable(`${fetched}, until the lease ran out`)
  }
}

/** The text, or in words why it could not be had this time. */
async function attempt(
  id: string,
  input: NonNullable<Assignment['input']>,
  { url, time }: InputParts,
  signal: AbortSignal,
): Promise<{ text: string } | string> {
  try {
    const response = await fetch(apiAddress(url, `agents/work/${id}/input`), {
      headers: { authorization: `Bearer ${input.token}` },
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(time.leaseMs)]),
    })
    if (response.status >= 400 && response.status < 500 && response.status !== 429) {
      await response.body?.cancel()
      throw new InputUnavailable(`the API refused the input (${response.status})`)
    }
    if (!response.ok || !response.body) {
      await response.body?.cancel()
      return `the API did not give the input (${response.status})`
    }
    const bytes = await readAtMost(response.body, input.bytes)
    if (bytes.length !== input.bytes || createHash('sha256').update(bytes).digest('hex') !== input.sha256)
      return 'the input came damaged'
    return { text: bytes.toString('utf8') }
  } catch (error) {
    if (error instanceof InputUnavailable) throw error
    signal.throwIfAborted()
    return 'the API could not be reached for the input'
  }
}

/** Stops reading once there is more than was announced. */
async function readAtMost(body: ReadableStream<Uint8Array>, limit: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    length += chunk.length
    if (length > limit) break
  }
  return Buffer.concat(chunks)
}

function understand(request: unknown): Submission {
  const parsed = submission.safeParse(request)
  if (parsed.success) return parsed.data
  throw new InputUnavailable(
    `this agent does not understand the submission (${parsed.error.issues[0]?.path.join('/')})`,
  )
}
