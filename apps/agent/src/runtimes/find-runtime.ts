import { accessSync, constants } from 'node:fs'
import { posix } from 'node:path'
import { runtimes } from '@errand/shared'
import type { RuntimeName } from '@errand/shared'

/** Where interpreters are looked for; a user's own PATH is nothing that another uid could use. */
export const searchPath = ['/usr/local/bin', '/usr/bin', '/bin'] as const

/** A language environment of this host. */
export interface FoundRuntime {
  /** `python3.11.2`; only the name where the tool tells no version. */
  id: string
  version: string | undefined
  /** Absolute. */
  interpreter: string
  launcher: string | undefined
}

/**
 * Runs a tool as user code would be run and answers what it printed; undefined when it could not be run or ended
 * with an error.
 */
export type Ask = (tool: string, args: readonly string[]) => Promise<string | undefined>

/**
 * The first tool that answers: `interpreter` if given (then without a known version too), or what `runtimes.ts` looks
 * for on `searchPath`.
 */
export async function findRuntime(
  name: RuntimeName,
  ask: Ask,
  interpreter?: string,
): Promise<FoundRuntime | undefined> {
  const runtime = runtimes[name]
  const tools =
    interpreter === undefined
      ? runtime.find.flatMap((tool) => whereIs(tool, searchPath))
      : [interpreter].filter(isExecutable)
  for (const tool of tools) {
    const launcher = runtime.launcher && whereIs(runtime.launcher, [posix.dirname(tool), ...searchPath])[0]
    if (runtime.launcher && !launcher) continue
    const answer = await ask(tool, runtime.version.args)
    if (answer === undefined) continue
    const version = runtime.version.pattern.exec(answer)?.[1]
    if (version !== undefined || interpreter !== undefined)
      return { id: name + (version ?? ''), version, interpreter: tool, launcher }
  }
  return undefined
}

/** What was looked for and where, for people. */
export function describeSearch(name: RuntimeName, interpreter?: string): string {
  if (interpreter !== undefined) return interpreter
  const { find, launcher } = runtimes[name]
  return `${find.join(' or ')}${launcher ? ` with ${launcher}` : ''} in ${searchPath.join(', ')}`
}

function whereIs(tool: string, directories: readonly string[]): string[] {
  return directories.map((directory) => posix.join(directory, tool)).filter(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
