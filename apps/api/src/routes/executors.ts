import { Hono } from 'hono'
import { z } from 'zod'
import {
  type Executor,
  type ExecutorSettings,
  type ExecutorType,
  type ShownExecutor,
  executorSchemas,
  executorType,
  fieldsToCome,
  newExecutor,
} from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { nameParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { readJson } from '../http/read-json.ts'
import { requireRole } from '../http/require-role.ts'
import { invalid, noQuery, valid, validBody, validQuery } from '../http/validate.ts'
import { audit } from '../store/audit.ts'
import {
  type ExecutorRow,
  createExecutor,
  deleteExecutor,
  getExecutor,
  listExecutors,
  patchExecutor,
} from '../store/executors.ts'
import { setsOf } from '../store/stock.ts'
import type { ExecutorCache } from './executor-cache.ts'

const mergePatch = z.record(z.string(), z.unknown())

/** Executors: every key sees them, without secrets; only admins change them, and not those of `config.yaml`. */
export function executorRoutes({ db, secrets, dispatch }: Parts, cache: ExecutorCache) {
  return new Hono<AppEnv>()
    .get('/executors', async (c) => {
      validQuery(c, noQuery)
      const rows = await listExecutors(db)
      return c.json({ data: rows.map(toExecutor), next_cursor: null })
    })

    .post('/executors', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const { name, executor_type, ...settings } = await validBody(c, newExecutor)
      const row = await createExecutor(db, secrets, {
        name,
        settings: validSettings(executor_type, settings),
      })
      if (row === 'name_taken')
        throw new Problem('name_taken', `There is an executor ${name} already.`, {
          errors: [{ pointer: '/name', detail: 'is taken' }],
        })
      await wroteDown(c.get('principal').name, 'executor.create', row)
      cache.forget(name)
      return c.json(toExecutor(row), 201, { location: `/executors/${name}` })
    })

    .get('/executors/:name', async (c) => {
      validQuery(c, noQuery)
      const row = await getExecutor(db, nameParam(c))
      if (row === undefined) throw notFound()
      const dependency_sets = await setsOf(db, row.name)
      return c.json({ ...toExecutor(row), dependency_sets } satisfies ShownExecutor)
    })

    .patch('/executors/:name', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const name = nameParam(c)
      const { value } = await readJson(c, ['application/merge-patch+json', 'application/json'])
      const patch = valid(mergePatch, value)
      for (const fixed of ['name', 'executor_type'])
        if (fixed in patch) throw invalid([{ pointer: `/${fixed}`, detail: 'cannot be changed' }])
      const row = await patchExecutor(db, secrets, { name, patch, validate: validMerged })
      if (row === 'unknown') throw notFound()
      if (row === 'read_only') throw readOnly(name)
      await wroteDown(c.get('principal').name, 'executor.change', row)
      cache.forget(name)
      // From the answer on `enabled` and `max_concurrency` hold here; on other replicas as soon as they hear of it.
      await dispatch.poll()
      return c.json(toExecutor(row))
    })

    .delete('/executors/:name', async (c) => {
      requireRole(c)
      validQuery(c, noQuery)
      const name = nameParam(c)
      const deleted = await deleteExecutor(db, name)
      if (deleted === 'unknown') throw notFound()
      if (deleted === 'read_only') throw readOnly(name)
      await audit(db, { actor: c.get('principal').name, action: 'executor.delete', target: name })
      cache.forget(name)
      return c.body(null, 204)
    })

  function wroteDown(actor: string, action: string, { name, config_id }: ExecutorRow): Promise<void> {
    return audit(db, { actor, action, target: name, detail: { config_id } })
  }
}

/** What a patch would make of an executor, checked as a new one is. */
export function validMerged({ executor_type, ...settings }: Record<string, unknown>): ExecutorSettings {
  return validSettings(executorType.parse(executor_type), settings)
}

function validSettings(executor_type: ExecutorType, settings: object): ExecutorSettings {
  const checked = { executor_type, ...valid(executorSchemas[executor_type], settings) } as ExecutorSettings
  const errors = fieldsToCome(checked).map((field) => ({
    pointer: `/${field}`,
    detail: 'is not available yet',
  }))
  if (errors.length > 0)
    throw new Problem('not_available_yet', 'The executor uses what is still to come.', { errors })
  return checked
}

export function readOnly(name: string): Problem {
  return new Problem('read_only', `${name} comes from the server's configuration: change it there.`)
}

export function toExecutor(row: ExecutorRow): Executor {
  const { executor_type, ...settings } = row.settings
  return {
    executor_id: row.executor_id,
    name: row.name,
    executor_type,
    config_id: row.config_id,
    source: row.source,
    enabled: settings.enabled,
    settings,
    has_secrets: row.has_secrets,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
