import type { Context } from 'hono'
import { idempotencyKey as schema } from '@errand/shared'
import { Problem } from './problem.ts'

/** The `Idempotency-Key` header: 1 to 255 visible ASCII characters. */
export function idempotencyKey(c: Context): string | undefined {
  const key = c.req.header('idempotency-key')
  const detail = key === undefined ? undefined : schema.safeParse(key).error?.issues[0]?.message
  if (detail === undefined) return key
  throw new Problem('bad_request', `Idempotency-Key ${detail}.`, {
    errors: [{ pointer: 'header Idempotency-Key', detail }],
  })
}
