import type { Context } from 'hono'
import type { Principal } from '@errand/shared'
import type { AppEnv } from './app-env.ts'

/** Who submits, and what a repetition is known by: the same key with the same body. */
export interface Submitter {
  principal: Principal
  /** `sha256` (hex) is of the body as it was sent. */
  idempotency: { key: string; sha256: string } | undefined
}

export async function submitterOf(
  c: Context<AppEnv>,
  key: string | undefined,
  body: Uint8Array<ArrayBuffer>,
): Promise<Submitter> {
  const idempotency = key === undefined ? undefined : { key, sha256: await sha256(body) }
  return { principal: c.get('principal'), idempotency }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex()
}
