import { FrameReader, boxBinary } from '@errand/box'
import { execa } from 'execa'
import type { BoxConnection, BoxListener } from './box-connection.ts'

/** A box on this host that takes one bundle after the other. It ends, with what runs in it, when the agent does. */
export interface LocalBox extends BoxConnection {
  /** False once it has ended: then another must take its place. */
  readonly alive: boolean
  /** Lets it end; settles when it has. */
  close(): Promise<void>
}

/** @param env the box's own, which no code gets */
export function startLocalBox(
  env: Readonly<Record<string, string>> = {},
  binary: string = boxBinary(),
): LocalBox {
  const started = execa(binary, ['serve'], {
    cwd: '/',
    env,
    extendEnv: false,
    stdio: ['pipe', 'pipe', 'ignore'],
    buffer: false,
    // in a session of its own: a Ctrl-C meant for the agent lets what runs end
    detached: true,
    cleanup: false,
    reject: false,
  })
  const { stdin, stdout, pid } = started.nodeChildProcess
  const frames = new FrameReader((frame) => listener?.frame(frame))
  let listener: BoxListener | undefined
  let alive = true
  let broken: Error | undefined
  const ended = started.then(({ code, exitCode, signal }) => {
    alive = false
    const how = signal ?? exitCode ?? code
    listener?.closed(broken ?? new Error(`the box on this host ended (${how}) before its work was done`))
  })
  stdin!.on('error', () => {})
  stdout!.on('data', (bytes: Buffer) => {
    if (broken) return
    try {
      frames.write(bytes)
    } catch (error) {
      // Nothing of what it says counts any more, but it is to end what runs first.
      broken = error as Error
      alive = false
      stdin!.end()
    }
  })
  return {
    get alive() {
      return alive
    },
    listen(to) {
      listener = to
    },
    send: (bytes) => void stdin!.write(bytes),
    // Its own end would set free what it is the parent of. All that can keep it from working is that it was stopped.
    kill() {
      try {
        if (pid !== undefined && alive) process.kill(-pid, 'SIGCONT')
      } catch {
        // it has ended, which we are about to hear
      }
    },
    async close() {
      stdin!.end()
      await ended
    },
  }
}
