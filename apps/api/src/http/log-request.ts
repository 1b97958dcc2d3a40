import { createMiddleware } from 'hono/factory'
import type { Log } from '../log.ts'
import type { AppEnv } from './app-env.ts'

/** One line for each request, without its query, which may hold what callers search for. */
export function logRequest(log: Log) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const begun = performance.now()
    await next()
    log.debug(
      {
        request_id: c.get('requestId'),
        method: c.req.method,
        path: c.req.path,
        status: c.res.status,
        duration_ms: Math.round(performance.now() - begun),
      },
      'request',
    )
  })
}
