/** Whether an error says that the database is away, too busy, or did not answer; by its code, never its text. */
export function isAway(error: unknown): boolean {
  const code = codeOf(error)
  return noConnection.has(code) || awayStates.test(code)
}

/** Whether the connection that it was asked on broke, and closes. */
export function hasLostConnection(error: unknown): boolean {
  return ['CONNECTION_CLOSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT'].includes(codeOf(error))
}

/** Whether it was rolled back only because of others, so that it may be tried again at once. */
export function isRetryable(error: unknown): boolean {
  return ['40001', '40P01'].includes(codeOf(error))
}

/** Of the driver and of the system under it. */
const noConnection = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'ENOENT',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
])

/**
 * SQLSTATEs: connection (08), resources (53: full disk, too many connections), shutdown and crash (57P01 to 57P05),
 * our own time limits (57014, 55P03, 25P03, 25P04), input and output of the server (58).
 */
const awayStates = /^(08...|53...|57P0[1-5]|57014|55P03|25P0[34]|58...)$/

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
