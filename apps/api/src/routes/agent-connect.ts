import { Hono } from 'hono'
import type { AppEnv } from '../http/app-env.ts'

/**
 * The agents' socket. Real upgrades are taken by the server before they get here; this answers all others, and closes:
 * a `Connection` header of ours without it would keep open what the caller asked to have closed.
 */
export function agentConnectRoute() {
  return new Hono<AppEnv>().get('/agents/connect', (c) =>
    c.body(null, 426, { upgrade: 'websocket', connection: 'Upgrade, close' }),
  )
}
