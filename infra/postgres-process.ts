import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Place {
  user: { uid?: number; gid?: number }
  home: string
  data: string
}

export interface Running {
  pid: number
  /** Asks for a fast shutdown, if it is not down yet; returns when the postmaster and all its backends have ended. */
  end(data: 'keep' | 'remove'): Promise<void>
}

/**
 * The shell is the lifeline: it waits for a line on its stdin. A line is the request to shut down, and says what
 * becomes of the data; the end of input without one means that our process died, and then both go.
 * PostgreSQL and every backend hold the shell's stdout and nobody else does: its end says that all are gone.
 */
const lifeline = `
"$@" 2>>"$HOME_DIR/log" &
echo $!
exec >&-
if read -r data; then kill -INT $!; else kill -QUIT $!; fi
wait $!
if [ "$data" != keep ] && [ -n "$TEMPORARY" ]; then rm -rf "$TEMPORARY"; fi
`

/** @throws with the end of its log where it does not start */
export async function launchPostgres(
  given: Place & { command: string[]; temporary: string },
): Promise<Running> {
  const { command, user, home, data, temporary } = given
  const shell = spawn('/bin/sh', ['-c', lifeline, 'sh', ...command], {
    ...user,
    cwd: home,
    // A session of its own: Ctrl-C must not reach the shell, it learns of our end by its stdin.
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, HOME_DIR: home, TEMPORARY: temporary },
  })
  shell.unref()
  const stdin = shell.stdin as Socket
  const stdout = shell.stdout as Socket
  let pid = 0
  let gone = false
  stdin.on('error', () => {})
  stdout.on('data', (text: Buffer) => (pid = Number(text.toString())))
  stdout.once('close', () => (gone = true))
  const ended = once(shell, 'exit')
  const end = async (data: 'keep' | 'remove'): Promise<void> => {
    stdin.end(`${data}\n`)
    shell.ref()
    stdout.ref()
    await ended
    if (!gone) await once(stdout, 'close')
  }
  const deadline = Date.now() + 60_000
  while (!isReady(data, pid)) {
    if (gone || Date.now() > deadline) {
      await end('keep')
      throw new Error(`PostgreSQL did not start:\n${readLog(home)}`)
    }
    await sleep(10)
  }
  // A caller that forgot `stop` still ends; the lifeline does the rest.
  stdin.unref()
  stdout.unref()
  return { pid, end }
}

/** The last line of `postmaster.pid` says so, and its first line whose it is (an older one may lie there). */
function isReady(data: string, pid: number): boolean {
  try {
    const lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')
    return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
  } catch {
    return false
  }
}

function readLog(home: string): string {
  try {
    return readFileSync(join(home, 'log'), 'utf8').split('\n').slice(-20).join('\n')
  } catch {
    return '(no log)'
  }
}
