import type { Context } from 'hono'
import { name } from '@errand/shared'
import { Problem } from './problem.ts'

/** The `{id}` of the path. What is no UUID names nothing: 404. */
export function idParam(c: Context): string {
  const id = c.req.param('id') ?? ''
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return id.toLowerCase()
  throw notFound()
}

/** The `{name}` of the path. What can't be a name (a NUL, say) names nothing, and never reaches the database. */
export function nameParam(c: Context): string {
  const parsed = name.safeParse(c.req.param('name'))
  if (parsed.success) return parsed.data
  throw notFound()
}

export function notFound(): Problem {
  return new Problem('not_found', 'There is nothing with this id or name that this key may see.')
}
