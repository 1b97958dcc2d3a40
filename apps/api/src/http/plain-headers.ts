import { createMiddleware } from 'hono/factory'
import type { AppEnv } from './app-env.ts'

/**
 * The security headers of every answer. Set before the handler runs (`hono/secure-headers` sets them after): that
 * keeps the Node adapter on its fast path, where no `Response` is built. Nothing of ours is to be framed, sniffed,
 * run or cached: results belong to whoever has the key.
 */
export function plainHeaders(publicUrl: string) {
  const headers = Object.entries({
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    ...(publicUrl.startsWith('https:') && { 'strict-transport-security': 'max-age=15552000' }),
  })
  return createMiddleware<AppEnv>(async (c, next) => {
    for (const [name, value] of headers) c.header(name, value)
    await next()
  })
}
