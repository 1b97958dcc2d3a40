import { Hono } from 'hono'
import { protocolVersion } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'

export function versionRoute({ version }: Pick<Parts, 'version'>) {
  return new Hono<AppEnv>().get('/version', (c) =>
    c.json({ name: 'errand', version, agent_protocol: protocolVersion }),
  )
}
