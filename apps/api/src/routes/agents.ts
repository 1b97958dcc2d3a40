import { type Context, Hono } from 'hono'
import { type Agent, agentPatch } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { requireRole } from '../http/require-role.ts'
import { noQuery, validBody, validQuery } from '../http/validate.ts'
import { publishChange } from '../live/publish-change.ts'
import { getAgent, listAgents, patchAgent, setDraining } from '../store/agents.ts'
import { audit } from '../store/audit.ts'
import { revokeAgent } from '../store/revoke-agent.ts'

/** The fleet: every key sees it, only admins change it. */
export function agentRoutes({ db, live, dispatch, time }: Parts) {
  return new Hono<AppEnv>()
    .get('/agents', async (c) => {
      validQuery(c, noQuery)
      return c.json({ data: await listAgents(db), next_cursor: null })
    })

    .get('/agents/:id', async (c) => {
      validQuery(c, noQuery)
      return c.json(known(await getAgent(db, idParam(c))))
    })

    .patch('/agents/:id', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const id = idParam(c)
      const patch = await validBody(c, agentPatch)
      const agent = await patchAgent(db, id, patch)
      if (agent === 'name_taken')
        throw new Problem('name_taken', `There is an agent ${patch.name} already.`, {
          errors: [{ pointer: '/name', detail: 'is taken' }],
        })
      const changed = known(agent)
      dispatch.setLabels(id, changed.labels)
      await writeDown(c, 'agent.change', id, patch)
      return c.json(changed)
    })

    .delete('/agents/:id', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const id = idParam(c)
      const lost = await revokeAgent(db, id, time)
      if (lost === 'unknown') throw notFound()
      dispatch.revoke(id)
      for (const execution of lost) {
        publishChange(live, execution)
        dispatch.freed(execution.queue_id)
      }
      await writeDown(c, 'agent.revoke', id)
      return c.body(null, 204)
    })

    .post('/agents/:id/drain', (c) => drain(c, true))
    .post('/agents/:id/resume', (c) => drain(c, false))

  /** A draining agent finishes what it has and gets no more. */
  async function drain(c: Context<AppEnv>, draining: boolean): Promise<Response> {
    requireRole(c)
    validQuery(c, noQuery)
    const id = idParam(c)
    const agent = known(await setDraining(db, id, draining))
    // The claim itself asks whether it drains.
    if (!draining) dispatch.kick()
    await writeDown(c, draining ? 'agent.drain' : 'agent.resume', id)
    return c.json(agent)
  }

  function writeDown(c: Context<AppEnv>, action: string, target: string, detail?: Record<string, unknown>) {
    return audit(db, { actor: c.get('principal').name, action, target, detail })
  }
}

function known(agent: Agent | 'unknown' | undefined): Agent {
  if (agent === undefined || agent === 'unknown') throw notFound()
  return agent
}
