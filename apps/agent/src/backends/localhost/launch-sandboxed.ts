import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Channels } from './channels.ts'
import type { Command, Ends, Launch } from './launch.ts'
import { isAlive, kill } from './processes.ts'
import { readSandboxReport } from './sandbox-report.ts'
import { interpreterOptions, sandboxHome } from './sandbox.ts'
import { startScript } from './start-script.ts'

export interface SandboxParts {
  bwrap: string
  /** `sandboxOptions` of this host. */
  options: readonly string[]
  /** `closedFolders` of this host. */
  closed: readonly string[]
  /** What bubblewrap itself, not the program, has in its environment. */
  env: Readonly<Record<string, string>>
  channels: Channels
  /** A descriptor to read this from, inside. */
  file(content: string): number
}

// Descriptors inside. 2 is bubblewrap's and setsid's standard error: never the program's.
const stderrFd = 3
const statusFd = 4
const scriptFd = 5

/** bubblewrap -> setsid -> sh, which becomes the program: see `readSandboxReport` and `startScript`. */
export function launchSandboxed(command: Command, ends: Ends, parts: SandboxParts): Launch {
  const script = parts.file(
    startScript(command.words, command.env, { stderr: stderrFd, unneeded: [statusFd, scriptFd] }),
  )
  const note = parts.channels.note()
  let text: string | undefined
  const readNote = (): string => (text ??= note.text())
  return {
    file: parts.bwrap,
    args: [
      parts.options,
      command.tools.flatMap((tool) => interpreterOptions(tool, parts.closed)),
      ['--bind', command.dir.work, sandboxHome, '--chdir', sandboxHome],
      ['--json-status-fd', String(statusFd), '--'],
      ['/usr/bin/setsid', '--fork', '--wait', '/bin/sh', `/dev/fd/${scriptFd}`],
    ].flat(),
    env: parts.env,
    cwd: '/',
    stdio: [ends.stdin, ends.stdout, note.end, ends.stderr, note.end, script],
    async settle({ stopped }) {
      const report = readSandboxReport(readNote())
      if (report.init !== undefined) await ended(report.init)
      if (report.end) return report.end
      if (stopped) return { exitCode: null, signal: 'SIGKILL' }
      throw new Error(`the sandbox failed: ${report.text || 'bubblewrap was killed'}`)
    },
    close() {
      readNote()
      closeSync(note.end)
      closeSync(script)
    },
  }
}

/** bubblewrap has gone, and with it goes the sandbox's first process; with that, by the kernel, all others. */
async function ended(init: number): Promise<void> {
  while (isAlive(init)) {
    kill(init)
    await sleep(1)
  }
}
