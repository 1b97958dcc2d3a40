import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'

/**
 * The secret kept at `path`, made by `make` (and durable) where there is none yet. Of several processes that
 * start at once, one makes it and all return that one. A final newline in the file does not count.
 *
 * @throws where the file is empty, cannot be read, or can be read or written by group or others
 */
export function readOrCreateSecret(path: string, make: () => string): string {
  const existing = readPrivate(path)
  if (existing !== undefined) return existing
  create(path, make())
  // Read back, also by the one that made it: what counts is what stands there.
  const created = readPrivate(path)
  if (created === undefined) throw new Error(`${path} vanished while it was being made`)
  return created
}

/**
 * A secret from the environment: the value of `name`, or the content of the file that `name`_FILE names
 * (without its final newline). Undefined where neither is set; an empty variable counts as not set.
 *
 * @throws where both are set, and where the file is empty or cannot be read
 */
export function fromEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = env[name]
  const path = env[`${name}_FILE`]
  if (value && path) throw new Error(`${name} and ${name}_FILE are both set: set one of them`)
  if (!path) return value || undefined
  let content: string
  try {
    content = withoutFinalNewline(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Error(`${name}_FILE: cannot read ${path} (${reason(error)})`, { cause: error })
  }
  if (content === '') throw new Error(`${name}_FILE: ${path} is empty`)
  return content
}

function readPrivate(path: string): string | undefined {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw new Error(`cannot read ${path} (${reason(error)})`, { cause: error })
  }
  try {
    const mode = fstatSync(fd).mode & 0o777
    if (mode & 0o077) {
      throw new Error(`${path} is open to other users (mode ${mode.toString(8)}): run chmod 600 ${path}`)
    }
    const secret = withoutFinalNewline(readFileSync(fd, 'utf8'))
    if (secret === '') throw new Error(`${path} is empty: write the secret into it, or delete it`)
    return secret
  } finally {
    closeSync(fd)
  }
}

/** Leaves what another process made meanwhile as it is. */
function create(path: string, secret: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${randomUUID()}`
  try {
    const fd = openSync(temporary, 'wx', 0o600)
    try {
      writeFileSync(fd, `${secret}\n`)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    linkIfFree(temporary, path)
  } finally {
    rmSync(temporary, { force: true })
  }
  syncDirectory(dirname(path))
}

/** A rename would take the place of the other's file; a link refuses to. */
function linkIfFree(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function withoutFinalNewline(text: string): string {
  return text.replace(/\r?\n$/, '')
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

function reason(error: unknown): string {
  return String(codeOf(error) ?? error)
}
