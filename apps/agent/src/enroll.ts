import { setTimeout as sleep } from 'node:timers/promises'
import { enrolled, problem } from '@errand/shared'
import type { TimeConstants } from '@errand/shared'
import { apiAddress } from './api-address.ts'
import { ReconnectWindow } from './connection/reconnect-window.ts'
import { writeIdentity } from './identity.ts'
import type { AgentKey, Enrolled } from './identity.ts'
import type { Log } from './log.ts'
import { Refused } from './refused.ts'

export interface Enrollment {
  /** Base address of the API. */
  url: string
  agentDir: string
  /** Single use. */
  token: string
  name: string
  key: AgentKey
  time: TimeConstants
  log: Log
  signal: AbortSignal
}

/**
 * Enrols this agent and keeps who it is now. Tries on while the API is away.
 *
 * The key is on disk before the request: when the answer is lost, or we die before it is kept, the next attempt sends
 * the same public key with the same token, by which the API can tell the retry from a second agent. The other order
 * could leave an enrolled agent whose key nobody has.
 *
 * @throws {Refused} when the API refuses the token
 */
export async function enroll(given: Enrollment): Promise<Enrolled> {
  const window = new ReconnectWindow(given.time, Math.random)
  for (;;) {
    const identity = await attempt(given)
    if (identity) {
      writeIdentity(given.agentDir, identity)
      return identity
    }
    await sleep(window.next(), undefined, { signal: given.signal })
  }
}

async function attempt({
  url,
  token,
  name,
  key,
  time,
  log,
  signal,
}: Enrollment): Promise<Enrolled | undefined> {
  let response: Response
  let body: unknown
  try {
    response = await fetch(apiAddress(url, 'agents/enroll'), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token, name, public_key: key.publicKey }),
      // The token goes to the address that the operator named, and nowhere else.
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(time.handshakeMs * 2)]),
    })
    body = await response.json().catch(() => undefined)
  } catch (error) {
    signal.throwIfAborted()
    log.warn({ url, err: error }, 'the API cannot be reached to enrol this agent; trying on')
    return undefined
  }
  if (response.ok) return enrolled.parse(body)
  if (response.status >= 500 || response.status === 429) {
    log.warn({ url, status: response.status }, 'the API cannot enrol this agent now; trying on')
    return undefined
  }
  const said = problem.safeParse(body)
  throw new Refused(
    `the API refused to enrol this agent (${response.status}${said.success ? `: ${said.data.detail ?? said.data.title}` : ''}); ` +
      'tokens work once and expire: make a new one',
  )
}
