/** What kept us from a target; code that runs or ran there is not to blame. */
export type SshFailureCode =
  /** No connection: no such name, nobody listens, no answer, cut before the handshake. */
  | 'unreachable'
  /** The target showed another host key than the one pinned; nothing was sent. */
  | 'host_key_mismatch'
  | 'authentication_refused'
  /** The private key can't be read, or not with this passphrase. */
  | 'key_unreadable'
  /** The connection broke while it was in use. */
  | 'link_lost'
  /** The target let us in and can't do what we need. */
  | 'target_unfit'

/** The message is for people, and names the target. */
export class SshFailure extends Error {
  override readonly name = 'SshFailure'
  readonly code: SshFailureCode

  constructor(code: SshFailureCode, message: string) {
    super(message)
    this.code = code
  }
}
