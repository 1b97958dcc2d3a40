/** What a log says of an error, and all it says: other fields that libraries attach are left out. */
export interface DescribedError {
  type: string
  message: string
  code?: string | number
  stack: string
  cause?: DescribedError | string
  errors?: DescribedError[]
}

/**
 * Describes an error for a log, without the data that it carries. Database errors bring the statement, its
 * parameters and the offending row, process errors the command line and the output: that is users' code.
 */
export function describeError(error: Error, depth = 0): DescribedError {
  const type = error.name === 'Error' ? error.constructor.name : error.name
  const message = safeMessage(error)
  const described: DescribedError = { type, message, stack: `${type}: ${message}${frames(error)}` }
  if ('code' in error && (typeof error.code === 'string' || typeof error.code === 'number')) {
    described.code = error.code
  }
  if (depth === 5) return described
  if (error.cause !== undefined) {
    described.cause = Error.isError(error.cause) ? describeError(error.cause, depth + 1) : typeof error.cause
  }
  if (error instanceof AggregateError) {
    described.errors = error.errors
      .filter((each) => Error.isError(each))
      .map((each) => describeError(each, depth + 1))
  }
  return described
}

/** The message, unless errors of this kind quote their input in it. */
function safeMessage(error: Error): string {
  // PostgreSQL: class 22 ("data exception") quotes the value that it could not take.
  if ('severity' in error && 'code' in error) {
    return String(error.code).startsWith('22') ? 'a value was refused by the database' : error.message
  }
  // Drizzle: the statement and all parameters; the database's own error is the cause.
  if ('query' in error && 'params' in error) return 'a database statement failed'
  // Execa: command line and output.
  if ('shortMessage' in error) {
    return 'originalMessage' in error && typeof error.originalMessage === 'string'
      ? error.originalMessage
      : 'a process failed'
  }
  // JSON.parse: the text around the place, and a short text whole.
  return error.message.replace(/"[^]*" is not valid JSON$/, 'the input is not valid JSON')
}

/** The frames of the stack without its head, which is the unsafe message once more. */
function frames(error: Error): string {
  const stack = error.stack ?? ''
  const head = stack.indexOf(error.message)
  const rest = head === -1 ? stack : stack.slice(head + error.message.length)
  return rest
    .split('\n')
    .filter((line) => /^ {4}at /.test(line))
    .map((line) => `\n${line}`)
    .join('')
}
