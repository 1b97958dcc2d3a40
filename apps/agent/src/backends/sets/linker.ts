import { posix, join } from 'node:path'
import type { NeededSet } from './needed-set.ts'

const name = 'link-node-modules.cjs'

/** The file that is to lie in a set of packages for Node, where no mount can show them to programs. */
export const linkerFile = join(import.meta.dirname, name)

/** Where it lies in a set; undefined where its programs need none. */
export function linkerIn(dir: string, { runtime }: Pick<NeededSet, 'runtime'>): string | undefined {
  return runtime === 'node' ? posix.join(dir, name) : undefined
}

/** What an interpreter is told beside, so that its program finds the packages of this set. */
export function linkingOptions(dir: string, set: Pick<NeededSet, 'runtime'>): string[] {
  const linker = linkerIn(dir, set)
  return linker === undefined ? [] : ['--require', linker]
}
