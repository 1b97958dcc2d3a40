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

/** A tool that may be the interpreter, and where the launcher may be that its runtime needs besides. */
export interface Candidate {
  tool: string
  launchers: readonly string[]
}

/** In the order of preference: `interpreter` alone if given, or what `runtimes.ts` looks for in `directories`. */
export function candidatesOf(
  name: RuntimeName,
  interpreter: string | undefined,
  directories: readonly string[] = searchPath,
): Candidate[] {
  const { find, launcher } = runtimes[name]
  const tools = interpreter === undefined ? find.flatMap((tool) => pathsOf(tool, directories)) : [interpreter]
  return tools.map((tool) => ({
    tool,
    launchers: launcher === undefined ? [] : pathsOf(launcher, [posix.dirname(tool), ...directories]),
  }))
}

/**
 * The runtime of a tool that printed this; undefined when it is none. A tool that was named is taken without a known
 * version too.
 */
export function recognize(
  name: RuntimeName,
  found: Pick<FoundRuntime, 'interpreter' | 'launcher'>,
  printed: string,
  isNamed: boolean,
): FoundRuntime | undefined {
  const version = runtimes[name].version.pattern.exec(printed)?.[1]
  return version === undefined && !isNamed ? undefined : { id: name + (version ?? ''), version, ...found }
}

/** The first tool of this host that answers. */
export async function findRuntime(
  name: RuntimeName,
  ask: Ask,
  interpreter?: string,
): Promise<FoundRuntime | undefined> {
  const runtime = runtimes[name]
  for (const { tool, launchers } of candidatesOf(name, interpreter)) {
    if (!isExecutable(tool)) continue
    const launcher = launchers.find(isExecutable)
    if (runtime.launcher && !launcher) continue
    const printed = await ask(tool, runtime.version.args)
    if (printed === undefined) continue
    const found = recognize(name, { interpreter: tool, launcher }, printed, interpreter !== undefined)
    if (found) return found
  }
  return undefined
}

/** What was looked for and where, for people. */
export function describeSearch(
  name: RuntimeName,
  interpreter?: string,
  directories: readonly string[] = searchPath,
): string {
  if (interpreter !== undefined) return interpreter
  const { find, launcher } = runtimes[name]
  return `${find.join(' or ')}${launcher ? ` with ${launcher}` : ''} in ${directories.join(', ')}`
}

function pathsOf(tool: string, directories: readonly string[]): string[] {
  return [...new Set(directories.map((directory) => posix.join(directory, tool)))]
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
