import { z } from 'zod'

/**
 * Every error of the REST API, by its stable code, with the HTTP status it is answered with. Clients decide by
 * the code; texts may change.
 */
export const statusOfProblem = {
  bad_json: 400,
  bad_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  unknown_executor: 404,
  method_not_allowed: 405,
  already_final: 409,
  idempotency_conflict: 409,
  name_taken: 409,
  host_key_not_seen: 409,
  read_only: 409,
  too_large: 413,
  unsupported_media_type: 415,
  range_not_satisfiable: 416,
  validation_failed: 422,
  not_available_yet: 422,
  too_many_requests: 429,
  internal: 500,
  unavailable: 503,
} as const

export type ProblemCode = keyof typeof statusOfProblem
export const problemCode = z.enum(Object.keys(statusOfProblem) as [ProblemCode, ...ProblemCode[]])

/** One reason: a JSON Pointer into the body (`""` the body itself; `?name` and `header Name` outside it). */
export const problemDetail = z.strictObject({ pointer: z.string(), detail: z.string() })
export type ProblemDetail = z.infer<typeof problemDetail>

/** RFC 9457, `application/problem+json`. */
export const problem = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: problemCode,
  detail: z.string().optional(),
  instance: z.string().optional(),
  request_id: z.string().optional(),
  errors: z.array(problemDetail).optional(),
})
export type Problem = z.infer<typeof problem>

/** The errors of a zod refusal as JSON Pointers (RFC 6901). */
export function problemDetails(error: z.ZodError): ProblemDetail[] {
  return error.issues.flatMap((issue) => {
    const at = (path: readonly PropertyKey[]) =>
      path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ pointer: at([...issue.path, key]), detail: 'is not a known field' }))
    return [{ pointer: at(issue.path), detail: issue.message }]
  })
}
