/** What went wrong between us and the Engine: decided by codes and statuses, never by words. */
export type EngineFaultKind =
  /** Nothing listens there. */
  | 'absent'
  /** We may not use it. */
  | 'denied'
  /** It is not the one that it should be. */
  | 'untrusted'
  /** The connection ended before the answer. */
  | 'cut'
  /** No answer in time. */
  | 'silent'
  /** It answered with an HTTP status that says no, or an error within its answer. */
  | 'answered'

/** The Engine could not be asked, or refused. The message is for the caller of the execution. */
export class EngineFault extends Error {
  override readonly name = 'EngineFault'
  readonly kind: EngineFaultKind
  /** Of `answered`; absent where its answer had begun well. */
  readonly status: number | undefined
  /** Of `answered`: the Engine's own words. */
  readonly said: string | undefined

  constructor(
    kind: EngineFaultKind,
    message: string,
    status?: number,
    { said, cause }: { said?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause })
    this.kind = kind
    this.status = status
    this.said = said
  }
}

/** Whether the Engine may have gone: what it does with our containers can't be known then. */
export function isAway(error: unknown): boolean {
  return error instanceof EngineFault && error.kind !== 'answered'
}

/** Whether the Engine answered so. */
export function answered(error: unknown, status: number): boolean {
  return error instanceof EngineFault && error.status === status
}

/** `act` says what was asked of it: `create a container`. */
export function engineFault(error: unknown, engine: string, act: string): EngineFault {
  if (error instanceof EngineFault) return error
  const { code, statusCode, json, message } = error as Partial<Record<string, unknown>>
  // Of an answer that would have been a stream, dockerode tells what it said in its own message alone.
  const said =
    oneLineOf(json) ??
    oneLineOf({ message: /^\(HTTP code \d+\) [\w ]+ - (.+) $/s.exec(String(message))?.[1] })
  const fault = (kind: EngineFaultKind, words: string, status?: number): EngineFault =>
    new EngineFault(kind, `the Docker Engine at ${engine} ${words}`, status, { said, cause: error })
  if (typeof statusCode === 'number')
    return fault('answered', `did not ${act}: ${said ?? `HTTP ${statusCode}`}`, statusCode)
  if (said !== undefined) return fault('answered', `did not ${act}: ${said}`)
  switch (code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return fault('absent', `does not answer (${code}): is it running?`)
    case 'EACCES':
    case 'EPERM':
      return fault('denied', `may not be used by the agent's user (${code}): add it to the group docker`)
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ECONNABORTED':
    case 'HPE_INVALID_EOF_STATE':
      return fault('cut', `closed the connection (${code}) when asked to ${act}: it may have ended`)
    default:
      return typeof code === 'string' && /CERT|SIGN|TLS|SSL/.test(code)
        ? fault('untrusted', `is not trusted (${code}): look at DOCKER_CERT_PATH`)
        : fault(
            'cut',
            `could not be asked to ${act}: ${error instanceof Error ? error.message : String(error)}`,
          )
  }
}

/** The Engine's own words, in one line. */
function oneLineOf(json: unknown): string | undefined {
  const message = typeof json === 'object' && json && 'message' in json ? json.message : undefined
  return typeof message === 'string' ? message.replace(/\s+/g, ' ').trim().slice(0, 1_000) : undefined
}
