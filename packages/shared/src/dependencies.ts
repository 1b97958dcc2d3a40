import { z } from 'zod'
import { readNpmRequirement } from './npm-requirement.ts'
import { readPythonRequirement } from './python-requirement.ts'
import type { RuntimeName } from './runtimes.ts'
import { oneLine } from './text.ts'

const longest = 512

/** Names of packages with versions, as `dependencyFaults` allows them for a runtime. */
export const dependencies = z.array(oneLine(longest).min(1)).max(1_000)

/** One dependency as it was understood: the package, and the one way to write it; or what is wrong with it. */
export type ReadDependency = { name: string; normal: string } | { fault: string }

/** Whether packages can be installed for a runtime at all. */
export function installsDependencies(runtime: RuntimeName): boolean {
  return readers[runtime] !== undefined
}

const readers: Partial<Record<RuntimeName, (text: string) => ReadDependency>> = {
  python: readPythonRequirement,
  node: readNpmRequirement,
}

/**
 * What is wrong with each of them for this runtime; none: they may be installed, together and with those of `beside`,
 * which have no faults.
 */
export function dependencyFaults(
  runtime: RuntimeName,
  dependencies: readonly string[],
  beside: readonly string[] = [],
): { index: number; detail: string }[] {
  const before = new Map<string, string>()
  for (const text of beside) remember(read(runtime, text))
  return dependencies.flatMap((text, index) => {
    const one = read(runtime, text)
    if ('fault' in one) return [{ index, detail: one.fault }]
    const other = before.get(one.name)
    remember(one)
    // pip keeps to all that is asked of a package; npm takes what it is told last.
    if (runtime !== 'node' || other === undefined || other === one.normal) return []
    return [{ index, detail: `must not ask for another version of ${one.name} than ${other} does` }]
  })

  function remember(one: ReadDependency): void {
    if ('name' in one) before.set(one.name, one.normal)
  }
}

/**
 * The same set always as the same list: normalised, sorted, each once.
 *
 * @throws where they have faults
 */
export function normalDependencies(runtime: RuntimeName, given: readonly string[]): string[] {
  const [first] = dependencyFaults(runtime, given)
  if (first) throw new Error(`the dependency ${given[first.index]} ${first.detail}`)
  const all = given.map((text) => read(runtime, text)).flatMap((one) => ('normal' in one ? [one.normal] : []))
  return [...new Set(all)].toSorted()
}

/**
 * All that an execution or installation for this runtime has: the executor's own (for its own runtime), and what is
 * asked beside.
 *
 * @throws where they have faults, or what is asked has some beside the executor's own
 */
export function dependenciesFor(
  executor: { runtime: RuntimeName; dependencies?: readonly string[] | undefined },
  runtime: RuntimeName,
  asked: readonly string[] = [],
): string[] {
  const own = executor.runtime === runtime ? (executor.dependencies ?? []) : []
  return normalDependencies(runtime, [...own, ...asked])
}

function read(runtime: RuntimeName, text: string): ReadDependency {
  const one = readers[runtime]?.(text) ?? {
    fault: `cannot be installed: ${runtime} has no dependency installer`,
  }
  if ('normal' in one && one.normal.length > longest)
    return { fault: `must not be longer than ${longest} characters` }
  return one
}
