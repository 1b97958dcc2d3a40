import { posix } from 'node:path'
import { searchPath } from '../../runtimes/find-runtime.ts'

/** What a program finds in its environment besides its runtime's and the caller's variables: nothing of the agent's. */
export function environmentAt(place: {
  interpreter: string
  home: string
  tmp: string
  /** Where tools are at this place. */
  directories?: readonly string[]
}): Record<string, string> {
  const { directories = searchPath } = place
  // An interpreter of a place of its own (a virtual environment) brings tools of its own.
  const folder = posix.dirname(place.interpreter)
  const isCommon = directories.some((common) => common === folder)
  return {
    PATH: [...(isCommon ? [] : [folder]), ...directories].join(':'),
    HOME: place.home,
    TMPDIR: place.tmp,
    LANG: 'C.UTF-8',
  }
}
