import type { ClientChannel } from 'ssh2'
import { SshFailure } from './ssh-failure.ts'

export interface Executed {
  /** Null when it was ended by a signal, or the link broke. */
  code: number | null
  stdout: string
  stderr: string
}

/**
 * Gives a command its whole input and takes its whole output, of which the first 64 KiB a stream are kept.
 *
 * @throws {SshFailure} `link_lost` when it takes longer
 */
export function executed(
  channel: ClientChannel,
  input: Uint8Array | string = '',
  limitMs = 30_000,
): Promise<Executed> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      channel.close()
      reject(new SshFailure('link_lost', `the target did not answer within ${limitMs / 1_000} s`))
    }, limitMs)
    const kept = { stdout: '', stderr: '' }
    const keep = (stream: 'stdout' | 'stderr') => (bytes: Buffer) => {
      if (kept[stream].length < mostKept) kept[stream] += bytes.toString('utf8')
    }
    channel.on('data', keep('stdout'))
    channel.stderr.on('data', keep('stderr'))
    channel.on('error', () => {})
    // `exit` comes when it comes, be it before we listen; this waits until we have read.
    channel.once('close', (code?: number | null) => {
      clearTimeout(timer)
      resolve({ code: code ?? null, ...kept })
    })
    channel.end(input)
  })
}

const mostKept = 64 * 1024
