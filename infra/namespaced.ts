import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'

/** A daemon in namespaces of its own, and all that it runs. It ends with this process, however that dies. */
export interface Namespaced {
  /** Has the daemon's script obey a word with its arguments, none of which has a space, and returns whether the daemon is up afterwards. */
  order(word: string): Promise<boolean>
  /** Ends everything, and removes `dir` unless that is to be kept. */
  end(): Promise<void>
}

export interface NamespacedDaemon {
  /** The script beside this file which starts it. */
  script: string
  program: string
  dir: string
  keep?: boolean
  argument?: string
}

/** @throws where a daemon cannot run in namespaces of its own, saying what is missing */
export function checkMachine(program: string, debianPackage: string): void {
  if (process.getuid?.() !== 0) throw new Error(`${program} for tests runs as root only`)
  if (!['/usr/sbin', '/usr/bin'].some((dir) => existsSync(join(dir, program))))
    throw new Error(
      `no ${program} on this machine: run sh infra/setup.sh test, or apt-get install ${debianPackage}`,
    )
}

/** The daemon itself starts by an order. */
export function enterNamespaces({ script, program, dir, keep, argument = '' }: NamespacedDaemon): Namespaced {
  const outer = join(import.meta.dirname, 'namespaced.sh')
  const shell = spawn('bash', [outer, script, dir, keep ? 'keep' : 'remove', argument], {
    // A session of its own: Ctrl-C must not reach it, it learns of our end by its stdin.
    detached: true,
    stdio: 'pipe',
  })
  shell.stdin.on('error', () => {})
  const ended = once(shell, 'exit')
  const complaints = text(shell.stderr)
  const answers = createInterface(shell.stdout)[Symbol.asyncIterator]()
  return {
    async order(word) {
      shell.stdin.write(`${word}\n`)
      const answer = await answers.next()
      if (answer.done) throw new Error(`${program} has ended: ${await complaints}`)
      return answer.value === 'up'
    },
    async end() {
      shell.stdin.end()
      await ended
    },
  }
}
