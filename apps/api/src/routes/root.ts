import { Hono } from 'hono'
import type { AppEnv } from '../http/app-env.ts'

/** `/` leads to what a newcomer needs first. Until there is a dashboard, that is whether the server is well. */
export function rootRoute() {
  return new Hono<AppEnv>().get('/', (c) => c.redirect('/healthz'))
}
