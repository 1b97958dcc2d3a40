import { Hono } from 'hono'
import { z } from 'zod'
import { labels, name, oneLine, outcome, status } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { answerPage, countParam, cursorParam, limitParam, listOf } from '../http/page-params.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { toRecord, toSummary } from '../store/execution-row.ts'
import { listJobs } from '../store/list-jobs.ts'
import { readExecution } from '../store/read-execution.ts'
import { readRequest } from '../store/read-request.ts'
import { withWaitingReason, withWaitingReasons } from '../store/waiting-reason.ts'
import { cancelJob } from './cancel-job.ts'

const listQuery = z.strictObject({
  limit: limitParam,
  cursor: cursorParam,
  count: countParam,
  status: listOf(status.options),
  outcome: listOf(outcome.options),
  executor: name.optional(),
  agent_id: z.uuid().optional(),
  /** `KEY` or `KEY=VALUE` */
  label: labelParam().optional(),
  q: oneLine(256).min(1).optional(),
  batch_id: z.string().optional(),
})

/** The executions that a key sees: list, one, what was submitted, cancel. */
export function executionRoutes(parts: Parts) {
  const { db } = parts
  return new Hono<AppEnv>()
    .get('/executions', async (c) => {
      const { limit, cursor, count, agent_id, batch_id, ...filter } = validQuery(c, listQuery)
      if (batch_id !== undefined)
        throw new Problem('not_available_yet', 'Batches are still to come.', {
          errors: [{ pointer: '?batch_id', detail: 'is not available yet' }],
        })
      const { rows, next, total } = await listJobs(db, {
        ...filter,
        agentId: agent_id,
        project: visibleProject(c),
        types: ['code.execute'],
        limit,
        after: cursor,
        count,
      })
      const data = (await withWaitingReasons(db, rows)).map(toSummary)
      return answerPage(c, data, { next, total })
    })

    .get('/executions/:id', async (c) => {
      validQuery(c, noQuery)
      const execution = await readExecution(db, { id: idParam(c), project: visibleProject(c) })
      if (execution === undefined) throw notFound()
      return c.json(toRecord(await withWaitingReason(db, execution)))
    })

    .get('/executions/:id/request', async (c) => {
      validQuery(c, noQuery)
      const request = await readRequest(db, { id: idParam(c), project: visibleProject(c) })
      if (request === undefined) throw notFound()
      return c.body(request.body as Uint8Array<ArrayBuffer>, 200, { 'content-type': 'application/json' })
    })

    .post('/executions/:id/cancel', async (c) => {
      const { status, execution } = await cancelJob(c, parts, 'code.execute')
      return c.json(toRecord(execution), status)
    })
}

function labelParam() {
  return z
    .string()
    .transform((text) => text.split(/=(.*)/s).slice(0, 2))
    .refine(([key, value]) => labels.safeParse({ [key!]: value ?? '' }).success, 'must be KEY or KEY=VALUE')
    .transform(([key, value]) => ({ key: key!, value }))
}
