import { createMiddleware } from 'hono/factory'
import type { Parts } from '../app.ts'
import type { AppEnv } from './app-env.ts'
import { bearer } from './bearer.ts'
import { Problem } from './problem.ts'

/** Lets only holders of a valid key past (promise 9), and says to the routes who they are. */
export function authenticate({ verifyKey }: Pick<Parts, 'verifyKey'>) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const principal = await verifyKey(bearer(c))
    // The same answer whether it is unknown, expired or revoked
    if (principal === undefined)
      throw new Problem('unauthenticated', 'This key is not valid.', {
        headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
      })
    c.set('principal', principal)
    await next()
  })
}
