import type { Context, Hono } from 'hono'
import { METHOD_NAME_ALL } from 'hono/router'
import type { AppEnv } from './app-env.ts'
import { Problem } from './problem.ts'

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/** For what no route takes: 405 with `Allow` where the path takes other methods, else 404. */
export function answerUnrouted(app: Hono<AppEnv>): (c: Context) => never {
  return (c) => {
    const allowed = methods.filter((method) =>
      app.router.match(method, c.req.path)[0].some(([[, route]]) => route.method !== METHOD_NAME_ALL),
    )
    if (allowed.length === 0) throw new Problem('not_found', 'There is nothing at this path.')
    if (allowed.includes('GET')) allowed.push('HEAD')
    throw new Problem('method_not_allowed', `This path takes ${allowed.join(', ')}.`, {
      headers: { allow: allowed.join(', ') },
    })
  }
}
