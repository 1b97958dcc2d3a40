import { runtimes } from '@errand/shared'
import type { RuntimeName } from '@errand/shared'
import { candidatesOf, recognize } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import type { Answer } from './ask-in-box.ts'

export type Commands = readonly (readonly string[])[]

/** What `findRuntime` finds on this host, in another place: every tool that may be it is asked at once. */
export async function findInBox(
  name: RuntimeName,
  interpreter: string | undefined,
  directories: readonly string[],
  ask: (commands: Commands) => Promise<Answer[]>,
): Promise<FoundRuntime | undefined> {
  const candidates = candidatesOf(name, interpreter, directories)
  const launchers = [...new Set(candidates.flatMap((one) => one.launchers))]
  const answers = await ask([
    ...candidates.map(({ tool }) => [tool, ...runtimes[name].version.args]),
    ...launchers.map((path) => [path, '--version']),
  ])
  const isThere = (launcher: string): boolean =>
    answers[candidates.length + launchers.indexOf(launcher)]?.notExecuted === null
  for (const [index, { tool, launchers: near }] of candidates.entries()) {
    const answer = answers[index]
    const launcher = near.find(isThere)
    if (answer?.exitCode !== 0 || (runtimes[name].launcher !== undefined && launcher === undefined)) continue
    const printed = answer.stdout + answer.stderr
    const found = recognize(name, { interpreter: tool, launcher }, printed, interpreter !== undefined)
    if (found) return found
  }
  return undefined
}
