import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Connections } from './connections.ts'
import { executed } from './executed.ts'
import type { Executed } from './executed.ts'
import { shCommand } from './sh-command.ts'

/**
 * Has a POSIX shell there read a script from its input.
 *
 * @param words its arguments: names and numbers
 * @throws {SshFailure}
 */
export async function runScript(
  connections: Connections,
  script: Uint8Array,
  words: readonly string[],
  limitMs?: number,
): Promise<Executed> {
  return executed(await connections.exec(shCommand(`exec /bin/sh -s ${words.join(' ')}`)), script, limitMs)
}

export function setsScript(): Promise<Uint8Array> {
  return readFile(join(import.meta.dirname, 'sets.sh'))
}
