import { posix } from 'node:path'
import type { Runtime } from '@errand/shared'
import { searchPath } from '../../runtimes/find-runtime.ts'

/** What a program finds in its environment: nothing of the agent's, the caller's variables last. */
export function environmentOf(
  runtime: Runtime,
  given: Readonly<Record<string, string>>,
  place: { interpreter: string; home: string; tmp: string },
): Record<string, string> {
  // An interpreter of a place of its own (a virtual environment) brings tools of its own.
  const folder = posix.dirname(place.interpreter)
  const isCommon = searchPath.some((common) => common === folder)
  return {
    PATH: [...(isCommon ? [] : [folder]), ...searchPath].join(':'),
    HOME: place.home,
    TMPDIR: place.tmp,
    LANG: 'C.UTF-8',
    ...runtime.env,
    ...given,
  }
}
