import { Hono } from 'hono'
import { checkRequest } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { nameParam, notFound } from '../http/path-params.ts'
import { requireRole } from '../http/require-role.ts'
import { noQuery, validOptionalBody, validQuery } from '../http/validate.ts'
import { getExecutor } from '../store/executors.ts'
import { limitsInForce } from './limits-in-force.ts'

/** Does it work right now? For admins alone: it connects to somewhere with the executor's secrets. */
export function executorCheckRoute({ db, checkExecutor }: Parts) {
  return new Hono<AppEnv>().post('/executors/:name/check', async (c) => {
    requireRole(c)
    validQuery(c, noQuery)
    const { runtime } = await validOptionalBody(c, checkRequest)
    const executor = await getExecutor(db, nameParam(c))
    if (executor === undefined) throw notFound()
    const { limits, required } = limitsInForce(executor.settings, { limits: {} })
    const asked = { runtime: runtime ?? executor.settings.runtime, limits, required_limits: required }
    return c.json(await checkExecutor(executor, asked))
  })
}
