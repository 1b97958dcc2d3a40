import type { Context } from 'hono'
import { type Problem as ProblemBody, type ProblemCode, statusOfProblem } from '@errand/shared'
import type { Log } from '../log.ts'
import { Unavailable } from '../store/database.ts'
import { Problem } from './problem.ts'

/** More reasons than this help nobody, and a hostile body can have as many as it has values. */
const mostErrors = 100
/** A pointer holds keys of the caller's own body, which may be as long as the body. */
const longestPointer = 256

const titles: Record<ProblemCode, string> = {
  bad_json: 'The body is not JSON',
  bad_request: 'The request cannot be read',
  unauthenticated: 'A valid key is needed',
  forbidden: 'This key may not do that',
  not_found: 'There is no such thing',
  unknown_executor: 'There is no such executor',
  method_not_allowed: 'This path does not take that method',
  already_final: 'It has already ended',
  idempotency_conflict: 'This Idempotency-Key was used with another body',
  name_taken: 'This name is taken',
  host_key_not_seen: 'The target does not present this host key',
  read_only: 'This cannot be changed here',
  too_large: 'The body is too large',
  unsupported_media_type: 'This media type is not taken',
  range_not_satisfiable: 'The range lies outside',
  validation_failed: 'The request is not valid',
  not_available_yet: 'This is not available yet',
  too_many_requests: 'Too many requests',
  internal: 'Our failure',
  unavailable: 'Not available right now',
}

/** Answers every error that a request threw. What is not a `Problem` is our own failure, and only the log says what. */
export function answerError(log: Log): (error: Error, c: Context) => Response {
  return (error, c) => {
    if (error instanceof Problem) return answerProblem(c, error)
    if (error instanceof Unavailable) {
      log.warn({ request_id: c.get('requestId'), err: error }, 'the database is away')
      return answerProblem(
        c,
        new Problem(
          'unavailable',
          'The database is away. Try again; with an Idempotency-Key nothing is done twice.',
          {
            headers: { 'retry-after': '1' },
          },
        ),
      )
    }
    log.error(
      { request_id: c.get('requestId'), method: c.req.method, path: c.req.path, err: error },
      'a request failed',
    )
    return answerProblem(c, new Problem('internal', 'Our failure; the log has it under this request_id.'))
  }
}

function answerProblem(c: Context, problem: Problem): Response {
  const status = statusOfProblem[problem.code]
  const body: ProblemBody = {
    type: `urn:errand:problem:${problem.code}`,
    title: titles[problem.code],
    status,
    code: problem.code,
    detail: problem.message,
    instance: c.req.path,
    request_id: c.get('requestId'),
    ...(problem.errors && {
      errors: problem.errors.slice(0, mostErrors).map(({ pointer, detail }) => ({
        pointer: pointer.slice(0, longestPointer),
        detail,
      })),
    }),
  }
  return c.body(JSON.stringify(body), status, {
    'content-type': 'application/problem+json',
    ...problem.headers,
  })
}
