import { Hono } from 'hono'
import { type ExecutorSettings, type HostKeys, hostKeyRequest } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { nameParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { requireRole } from '../http/require-role.ts'
import { invalid, noQuery, validOptionalBody, validQuery } from '../http/validate.ts'
import { audit } from '../store/audit.ts'
import { getExecutor, patchExecutor } from '../store/executors.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { readOnly, toExecutor, validMerged } from './executors.ts'

/**
 * Enrols the host key of an ssh target: shows what the target presents now to the agents that would connect there, and,
 * confirmed by its fingerprint, stores it. A key is never taken unseen: what is confirmed has to be presented at that
 * moment, to every agent that reaches the target.
 */
export function executorHostKeyRoute(parts: Parts, cache: ExecutorCache) {
  const { db, secrets, dispatch, seeHostKeys } = parts
  return new Hono<AppEnv>().post('/executors/:name/host-key', async (c) => {
    requireRole(c)
    validQuery(c, noQuery)
    const name = nameParam(c)
    const { confirm, ...more } = await validOptionalBody(c, hostKeyRequest)
    const executor = await getExecutor(db, name)
    if (executor === undefined) throw notFound()
    const settings = sshSettings(executor.settings)
    if (confirm !== undefined && executor.source !== 'rest') throw readOnly(name)
    const seen = await seeHostKeys(settings)
    if (confirm === undefined) return c.json(seen)

    const patch = { ...hostKeyPatch(seen, confirm), ...more }
    if (Object.keys(patch).length === 0) return c.json(toExecutor(executor))
    const row = await patchExecutor(db, secrets, {
      name,
      patch,
      validate(merged) {
        // Under the executor's lock: what was seen is no other target's key
        if (merged['host'] !== seen.host || merged['port'] !== seen.port)
          throw notSeen('The executor was changed meanwhile: look at its host keys again.')
        return validMerged(merged)
      },
    })
    if (row === 'unknown') throw notFound()
    if (row === 'read_only') throw readOnly(name)
    await audit(db, {
      actor: c.get('principal').name,
      action: 'executor.host_key',
      target: name,
      detail: { config_id: row.config_id, sha256: confirm },
    })
    cache.forget(name)
    await dispatch.poll()
    return c.json(toExecutor(row))
  })
}

function sshSettings(settings: ExecutorSettings) {
  if (settings.executor_type === 'ssh') return settings
  throw invalid([{ pointer: '', detail: `asks for a host key, which ${settings.executor_type} has not` }])
}

/** What stores the confirmed key, and it alone; nothing where that is so already. */
function hostKeyPatch({ stored, reason, agents }: HostKeys, confirm: string): Record<string, unknown> {
  if (reason !== null) throw notSeen(`No agent could look at the target: ${reason}.`)
  const reached = agents.filter(({ error }) => error === null)
  if (reached.length === 0)
    throw notSeen(
      `No agent reaches the target. ${agents.map((one) => `${one.agent}: ${one.error}`).join('; ')}`,
    )
  const confirmed = reached.map(({ keys }) => keys.find(({ sha256 }) => sha256 === confirm))
  const without = reached.filter((_agent, index) => confirmed[index] === undefined)
  if (without.length > 0)
    throw notSeen(
      `The target does not present that key to ${without.map((one) => one.agent).join(', ')}. What it presents: ${[
        ...new Set(without.flatMap(({ keys }) => keys.map((key) => `${key.sha256} (${key.key_type})`))),
      ].join(', ')}.`,
    )
  if (stored.length === 1 && stored[0]!.sha256 === confirm) return {}
  return { host_key: confirmed[0]!.host_key, host_key_sha256: null }
}

function notSeen(detail: string): Problem {
  return new Problem('host_key_not_seen', detail.slice(0, 2_000), {
    errors: [{ pointer: '/confirm', detail: 'is not what the target presents now' }],
  })
}
