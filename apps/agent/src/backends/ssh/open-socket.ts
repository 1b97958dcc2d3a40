import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { SshFailure } from './ssh-failure.ts'
import { describeTarget } from './target.ts'
import type { Target } from './target.ts'

/**
 * A TCP connection to the target. Without Nagle's algorithm: small packets of a run would wait for acknowledgements
 * that the other side delays, 40 ms each.
 *
 * @throws {SshFailure} `unreachable`
 */
export function openSocket(target: Target, timeoutMs: number): Promise<Socket> {
  const { host, port } = target
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true })
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs / 1_000} s`), timeoutMs)
    const failed = (error: NodeJS.ErrnoException): void =>
      fail(reasons[error.code ?? ''] ?? error.code ?? 'unknown')
    socket.once('error', failed)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', failed)
      resolve(socket)
    })

    function fail(reason: string): void {
      clearTimeout(timer)
      socket.destroy()
      reject(new SshFailure('unreachable', `cannot reach ${describeTarget(target)}: ${reason}`))
    }
  })
}

const reasons: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there (ECONNREFUSED)',
  ENOTFOUND: 'there is no such host (ENOTFOUND)',
  EAI_AGAIN: 'its name cannot be looked up now (EAI_AGAIN)',
  ETIMEDOUT: 'no answer (ETIMEDOUT)',
  EHOSTUNREACH: 'there is no way to that host (EHOSTUNREACH)',
  ENETUNREACH: 'there is no way to that network (ENETUNREACH)',
  ECONNRESET: 'the connection was reset (ECONNRESET)',
}
