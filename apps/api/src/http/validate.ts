import type { Context } from 'hono'
import { z } from 'zod'
import { type ProblemDetail, problemDetails } from '@errand/shared'
import { Problem } from './problem.ts'
import { readJson, readOptionalJson } from './read-json.ts'

/** The JSON body as its schema gives it, or 422 with a pointer to each fault. */
export async function validBody<Schema extends z.ZodType>(
  c: Context,
  schema: Schema,
  limit?: number,
): Promise<z.output<Schema>> {
  return valid(schema, (await readJson(c, undefined, limit)).value)
}

/** As `validBody`; no body at all is an empty object. */
export async function validOptionalBody<Schema extends z.ZodType>(
  c: Context,
  schema: Schema,
): Promise<z.output<Schema>> {
  return valid(schema, (await readOptionalJson(c)) ?? {})
}

export function valid<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw invalid(problemDetails(parsed.error))
}

/** What `act` makes of a part of the body: the pointers of its refusals begin with where that part lies. */
export async function validWithin<T>(pointer: string, act: () => T | Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof Problem) || error.errors === undefined) throw error
    const errors = error.errors.map((one) => ({ ...one, pointer: pointer + one.pointer }))
    // Its text names the first of them
    if (error.code === 'validation_failed') throw invalid(errors)
    throw new Problem(error.code, error.message, { errors, headers: error.headers })
  }
}

/** For routes without parameters. */
export const noQuery = z.strictObject({})

/**
 * The query as a strict schema gives it: each parameter a string, or an array of them when it comes more than once.
 * What is unknown or malformed is refused with the pointer `?name`.
 */
export function validQuery<Schema extends z.ZodObject>(c: Context, schema: Schema): z.output<Schema> {
  const given = Object.fromEntries(
    Object.entries(c.req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0] : values]),
  )
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  throw invalid(
    parsed.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({ pointer: `?${key}`, detail: 'is not a known parameter' }))
        : [{ pointer: `?${String(issue.path[0])}`, detail: issue.message }],
    ),
  )
}

export function invalid(errors: ProblemDetail[]): Problem {
  const [first] = errors
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''
  return new Problem(
    'validation_failed',
    `${first?.pointer || 'The body'} ${first?.detail}${more}.`.slice(0, 1_000),
    { errors },
  )
}
