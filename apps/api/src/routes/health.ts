import { Hono } from 'hono'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'

/** `/livez`: the process answers. `/readyz`: it should get requests. `/healthz` is the older name of that. */
export function healthRoutes({ ready }: Pick<Parts, 'ready'>) {
  const routes = new Hono<AppEnv>().get('/livez', (c) => c.json({ status: 'ok' }))
  for (const path of ['/readyz', '/healthz'])
    routes.get(path, (c) =>
      ready() ? c.json({ status: 'ok' }) : c.json({ status: 'unavailable' }, 503, { 'retry-after': '1' }),
    )
  return routes
}
