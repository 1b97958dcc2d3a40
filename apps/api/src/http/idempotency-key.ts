import type { Context } from 'hono'
import { Problem } from './problem.ts'

/** The `Idempotency-Key` header: 1 to 255 visible ASCII characters. */
export function idempotencyKey(c: Context): string | undefined {
  const key = c.req.header('idempotency-key')
  if (key === undefined || /^[\u0021-\u007e]{1,255}$/.test(key)) return key
  const detail = 'must be 1 to 255 visible ASCII characters'
  throw new Problem('bad_request', `Idempotency-Key ${detail}.`, {
    errors: [{ pointer: 'header Idempotency-Key', detail }],
  })
}
