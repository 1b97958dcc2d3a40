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
export function startLocalBox(env: Readonly<Record<string, string>> = {}): LocalBox {
  const started = execa(boxBinary(), ['serve'], {
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
  const ended = started.then(({ code, exitCode, signal }) => {
    alive = false
    const how = signal ?? exitCode ?? code
    listener?.closed(new Error(`the box on this host ended (${how}), and with it what ran`))
  })
  stdin!.on('error', () => {})
  stdout!.on('data', (bytes: Buffer) => {
    try {
      frames.write(bytes)
    } catch (error) {
      listener?.closed(error as Error)
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
    kill: () => void (pid !== undefined && alive && process.kill(-pid, 'SIGCONT')),
    async close() {
      stdin!.end()
      await ended
    },
  }
}
