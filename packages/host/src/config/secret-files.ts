import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Path } from './parse-yaml.ts'

/** Where `config.yaml` takes `KEY_file` for `KEY`; `*` is any name. REST takes values only. */
const secretKeys: readonly (readonly string[])[] = [
  ['server', 'admin_key'],
  ['server', 'secret_key'],
  ['server', 'database_url'],
  ['code_executors', 'docker', '*', 'registry_auth', 'password'],
  ['code_executors', '*', '*', 'index_auth', 'password'],
  ['code_executors', 'ssh', '*', 'password'],
  ['code_executors', 'ssh', '*', 'private_key'],
  ['code_executors', 'ssh', '*', 'passphrase'],
]

/**
 * Replaces every `KEY_file` in `root` by `KEY` with the content of that file, without its final newline. Paths are
 * relative to the configuration file; `~/` is the home directory.
 */
export function readSecretFiles(
  root: unknown,
  given: { path: string; env: NodeJS.ProcessEnv; refuse: (at: Path, reason: string) => void },
): void {
  for (const pattern of secretKeys) {
    const key = pattern.at(-1) ?? ''
    for (const { path, value } of matches(root, pattern.slice(0, -1))) {
      const fileKey = `${key}_file`
      if (!Object.hasOwn(value, fileKey)) continue
      const at = [...path, fileKey]
      const file = value[fileKey]
      delete value[fileKey]
      if (typeof file !== 'string' || file === '') given.refuse(at, 'must be the path of a file')
      else if (Object.hasOwn(value, key)) given.refuse(at, `must not be given together with ${key}`)
      else value[key] = readSecret(file, given, (reason) => given.refuse(at, reason))
    }
  }
}

type Mapping = Record<string, unknown>

function matches(root: unknown, pattern: readonly string[]): { path: string[]; value: Mapping }[] {
  let found: { path: string[]; value: Mapping }[] = isMapping(root) ? [{ path: [], value: root }] : []
  for (const part of pattern) {
    found = found.flatMap(({ path, value }) =>
      Object.entries(value).flatMap(([key, below]) =>
        (part === '*' || part === key) && isMapping(below) ? [{ path: [...path, key], value: below }] : [],
      ),
    )
  }
  return found
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text in place of an unreadable secret keeps the schema from complaining a second time. */
function readSecret(
  file: string,
  { path, env }: { path: string; env: NodeJS.ProcessEnv },
  refuse: (reason: string) => void,
): string {
  const home = env['HOME'] || homedir()
  const expanded = file.startsWith('~/') ? join(home, file.slice(2)) : resolve(dirname(path), file)
  try {
    const content = readFileSync(expanded, 'utf8').replace(/\r?\n$/, '')
    if (content === '') refuse(`${expanded} is empty`)
    return content
  } catch (error) {
    refuse(
      `cannot read ${expanded} (${error instanceof Error && 'code' in error ? String(error.code) : String(error)})`,
    )
    return ''
  }
}
