import { constants, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import type { InstallSteps } from '../../packages/install-steps.ts'
import type { NeededSet } from './needed-set.ts'

const name = 'link-node-modules.cjs'

/** The file that is to lie in a set of packages for Node, where no mount can show them to programs. */
export const linkerFile = join(import.meta.dirname, name)

/** Where it lies in a set; undefined where its programs need none. */
export function linkerIn(dir: string, { runtime }: Pick<NeededSet, 'runtime'>): string | undefined {
  return runtime === 'node' ? posix.join(dir, name) : undefined
}

/** Puts it there, for whoever cannot do so in another way. */
export function linkerSteps(dir: string, set: Pick<NeededSet, 'runtime' | 'interpreter'>): InstallSteps {
  const linker = linkerIn(dir, set)
  if (linker === undefined) return { files: [], steps: [] }
  const copy = `require('fs').copyFileSync('${name}', process.argv[1], ${constants.COPYFILE_EXCL})`
  return {
    files: [{ path: name, content: readFileSync(linkerFile, 'utf8') }],
    steps: [{ argv: [set.interpreter, '-e', copy, linker], env: {} }],
  }
}

/** What an interpreter is told beside, so that its program finds the packages of this set. */
export function linkingOptions(dir: string, set: Pick<NeededSet, 'runtime'>): string[] {
  const linker = linkerIn(dir, set)
  return linker === undefined ? [] : ['--require', linker]
}
