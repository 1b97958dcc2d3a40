import { type Context, Hono } from 'hono'
import { z } from 'zod'
import {
  type Job,
  givenJobType,
  jobType,
  jobTypeAliases,
  maintenanceType,
  name,
  outcome,
  status,
} from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { answerPage, countParam, cursorParam, limitParam, listOf } from '../http/page-params.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { listJobs } from '../store/list-jobs.ts'
import { explained, readJob, readJobs } from '../store/read-job.ts'
import { toJob, toJobSummary } from '../store/stored-job.ts'
import { cancelJob } from './cancel-job.ts'

const listQuery = z.strictObject({
  limit: limitParam,
  cursor: cursorParam,
  count: countParam,
  status: listOf(status.options),
  outcome: listOf(outcome.options),
  type: listOf([...jobType.options, ...Object.keys(jobTypeAliases)]).transform((types) =>
    types?.map((type) => givenJobType.parse(type)),
  ),
  executor: name.optional(),
  agent_id: z.uuid().optional(),
})

/** Jobs of every type: list, one, cancel. Executions belong to their project, upkeep is everybody's to see. */
export function jobRoutes(parts: Parts) {
  const { db } = parts
  return new Hono<AppEnv>()
    .get('/jobs', async (c) => {
      const { limit, cursor, count, agent_id, type, ...filter } = validQuery(c, listQuery)
      const { rows, next, total } = await listJobs(db, {
        ...filter,
        // Whoever wants executions, which are many more, asks for them.
        types: type ?? maintenanceType.options,
        agentId: agent_id,
        project: visibleProject(c),
        limit,
        after: cursor,
        count,
      })
      const jobs = await readJobs(
        db,
        rows.map(({ id }) => id),
      )
      const data = (await explained(db, jobs)).map(toJobSummary)
      return answerPage(c, data, { next, total })
    })

    .get('/jobs/:id', async (c) => {
      validQuery(c, noQuery)
      return c.json(await shown(c, idParam(c)))
    })

    .post('/jobs/:id/cancel', async (c) => {
      const { status: answered, execution } = await cancelJob(c, parts)
      return c.json(await shown(c, execution.id), answered)
    })

  async function shown(c: Context<AppEnv>, id: string): Promise<Job> {
    const job = await readJob(db, { id, project: visibleProject(c) })
    if (job === undefined) throw notFound()
    const [one] = await explained(db, [job])
    return toJob(one!)
  }
}
