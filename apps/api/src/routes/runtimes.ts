import { Hono } from 'hono'
import { runtimeName, runtimes } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { listAgents } from '../store/agents.ts'

/** The languages, and where in the fleet each is found at which version. Images bring their own. */
export function runtimeRoutes({ db }: Pick<Parts, 'db'>) {
  return new Hono<AppEnv>().get('/runtimes', async (c) => {
    validQuery(c, noQuery)
    const agents = await listAgents(db)
    const data = runtimeName.options.map((name) => {
      const { file, extensions, compile, image } = runtimes[name]
      const found = agents.flatMap(({ agent_id, name: agent_name, status, report }) => {
        const version = report?.runtimes[name]
        return version === undefined ? [] : [{ agent_id, agent_name, status, version }]
      })
      return { name, file, extensions, compiled: compile !== undefined, image, agents: found }
    })
    return c.json({ data, next_cursor: null })
  })
}
