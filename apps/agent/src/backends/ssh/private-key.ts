import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isKeyPath } from '@errand/shared'
import ssh2 from 'ssh2'
import type { ParsedKey } from 'ssh2'
import { SshFailure } from './ssh-failure.ts'

/**
 * Reads the key of a target, from its file where a path was given.
 *
 * @throws {SshFailure} `key_unreadable`
 */
export async function readPrivateKey(given: string, passphrase: string | undefined): Promise<ParsedKey> {
  const text = isKeyPath(given) ? await readKeyFile(given) : given
  const parsed = ssh2.utils.parseKey(text, passphrase)
  const key = Array.isArray(parsed) ? parsed[0] : parsed
  if (key === undefined || key instanceof Error) {
    const reason = key?.message ?? 'there is none in it'
    const how = passphrase === undefined ? 'without a passphrase' : 'with the passphrase that was given'
    throw new SshFailure('key_unreadable', `the private key cannot be read ${how}: ${reason}`)
  }
  if (!key.isPrivateKey()) throw new SshFailure('key_unreadable', 'the private key is a public one')
  return key
}

async function readKeyFile(path: string): Promise<string> {
  try {
    return await readFile(path.replace(/^~(?=\/)/, homedir()), 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new SshFailure(
      'key_unreadable',
      `the private key's file ${path} cannot be read on the agent's host: ${code}`,
    )
  }
}
