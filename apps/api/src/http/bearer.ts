import type { Context } from 'hono'
import { Problem } from './problem.ts'

/** The token of `Authorization: Bearer TOKEN`, not yet verified; 401 when there is none. */
export function bearer(c: Context): string {
  const [, token] = /^Bearer +([\u0021-\u007e]{1,512})$/i.exec(c.req.header('authorization') ?? '') ?? []
  if (token !== undefined) return token
  throw new Problem('unauthenticated', 'Send a key: Authorization: Bearer KEY.', {
    headers: { 'www-authenticate': 'Bearer' },
  })
}
