import { chownSync, closeSync, constants, mkdirSync, openSync, readSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { runTool } from './run-tool.ts'

/**
 * The output pipes of one slot, used by one process after the other. They are FIFOs because Node's own are socket
 * pairs, which a program can't open again: `/dev/stdout` and `/dev/stderr` would not work. A FIFO that no process holds
 * is empty, so nothing passes from one run to the next.
 */
export interface Channels {
  /** A reading end that ends when all writers have gone, and the end for the program. */
  output(name: 'stdout' | 'stderr'): { reader: Socket; end: number }
  /** As `output`, but read by `text` once no one writes any more: at most the 64 KiB that a pipe holds. */
  note(): { text(): string; end: number }
}

const names = ['stdout', 'stderr', 'note'] as const

/** @param uid who may open them, when it is not this process's */
export async function makeChannels(dir: string, uid: number | undefined): Promise<Channels> {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const paths = names.map((name) => join(dir, name))
  await runTool('mkfifo', ['-m', '600', ...paths])
  if (uid !== undefined) for (const path of paths) chownSync(path, uid, uid)
  return {
    output(name) {
      const { ours, end } = openOutput(join(dir, name))
      return { reader: new Socket({ fd: ours, readable: true, writable: false }), end }
    },
    note() {
      const { ours, end } = openOutput(join(dir, 'note'))
      return { text: () => readAndClose(ours), end }
    },
  }
}

// Only our end is non-blocking: programs don't expect it of theirs.
const ourReader = constants.O_RDONLY | constants.O_NONBLOCK

function openOutput(path: string): { ours: number; end: number } {
  const ours = openSync(path, ourReader)
  return { ours, end: openSync(path, constants.O_WRONLY) }
}

function readAndClose(fd: number): string {
  const buffer = Buffer.alloc(64 * 1024)
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer))
  } catch (error) {
    // somebody still holds it, and it is empty
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return ''
    throw error
  } finally {
    closeSync(fd)
  }
}
