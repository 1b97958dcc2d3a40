import { Hono } from 'hono'
import { z } from 'zod'
import { type JobType, type JobTypeInfo, jobParams, jobType, jobTypeAliases } from '@errand/shared'
import type { AppEnv } from '../http/app-env.ts'
import { noQuery, validQuery } from '../http/validate.ts'

const descriptions: Record<JobType, string> = {
  'code.execute': 'Runs code on an executor: the params are the body of POST /executions.',
  'docker_image.download':
    'Downloads the image of a docker executor to the Engine of each agent that serves it.',
  'runtime.install':
    'Installs the packages of an executor, and those that are named beside, on each agent that serves it.',
}

/** `GET /job-types`: what jobs there are, and the JSON schema of their params. */
export function jobTypesRoute() {
  const data = jobType.options.map((type): JobTypeInfo => ({
    type,
    aliases: Object.keys(jobTypeAliases).filter((alias) => jobTypeAliases[alias] === type),
    description: descriptions[type],
    params_schema: z.toJSONSchema(jobParams[type], { io: 'input' }) as Record<string, unknown>,
  }))
  return new Hono<AppEnv>().get('/job-types', (c) => {
    validQuery(c, noQuery)
    return c.json({ data, next_cursor: null })
  })
}
