import { Hono } from 'hono'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { bearer } from '../http/bearer.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { readInput } from '../store/read-request.ts'

/**
 * What is too large for the socket. Keyless for users' keys: the bearer is the token of one claim, and is worth
 * nothing once that claim has ended.
 */
export function agentWorkRoutes({ db, secrets }: Pick<Parts, 'db' | 'secrets'>) {
  return new Hono<AppEnv>().get('/agents/work/:id/input', async (c) => {
    const token = bearer(c)
    const id = idParam(c)
    const claim = await secrets.verifyWorkToken(id, token)
    if (claim === undefined) throw new Problem('unauthenticated', 'This token is not valid.')
    const input = await readInput(db, { id, fence: claim.fence })
    if (input === undefined) throw notFound()
    return c.body(input.body as Uint8Array<ArrayBuffer>, 200, { 'content-type': 'application/json' })
  })
}
