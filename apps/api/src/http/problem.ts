import type { ProblemCode, ProblemDetail } from '@errand/shared'

/** Thrown anywhere in a request and answered in one place (`answer-error.ts`) as `application/problem+json`. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly errors: ProblemDetail[] | undefined
  readonly headers: Record<string, string>

  /** `detail` is shown to the caller: it holds no secret, no code, no output. */
  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: ProblemDetail[]; headers?: Record<string, string> } = {},
  ) {
    super(detail)
    this.code = code
    this.errors = more.errors
    this.headers = more.headers ?? {}
  }
}
