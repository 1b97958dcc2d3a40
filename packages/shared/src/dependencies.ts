import { z } from 'zod'
import type { RuntimeName } from './runtimes.ts'
import { oneLine } from './text.ts'

/** Names of packages with versions, as `dependencyFaults` allows them for a runtime. */
export const dependencies = z.array(oneLine(512).min(1)).max(1_000)

/** Whether packages can be installed for a runtime at all. */
export function installsDependencies(runtime: RuntimeName): boolean {
  return runtime === 'python' || runtime === 'node'
}

/** What is wrong with each of them for this runtime; none: they may be installed. */
export function dependencyFaults(
  _runtime: RuntimeName,
  _dependencies: readonly string[],
): { index: number; detail: string }[] {
  return []
}

/** The same set always as the same list: normalised, sorted, each once. They have no faults. */
export function normalDependencies(_runtime: RuntimeName, given: readonly string[]): string[] {
  return [...new Set(given)].toSorted()
}

/** All that an execution or installation for this runtime has: the executor's own (for its own runtime), and what is asked beside. */
export function dependenciesFor(
  executor: { runtime: RuntimeName; dependencies?: readonly string[] | undefined },
  runtime: RuntimeName,
  asked: readonly string[] = [],
): string[] {
  const own = executor.runtime === runtime ? (executor.dependencies ?? []) : []
  return normalDependencies(runtime, [...own, ...asked])
}
