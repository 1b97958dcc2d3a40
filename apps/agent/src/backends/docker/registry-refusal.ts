import type { EngineFault } from './engine-fault.ts'

/** Why a pull would fail again: it is not there (or not for everybody to see), credentials are refused, no room. */
export type RegistryRefusal = 'absent' | 'credentials' | 'no room'

/**
 * Why a pull that failed would fail again; undefined where it may go well the next time, as with all that we don't know.
 *
 * The Engine answers with a status of its own only where it knows the registry's answer before it has begun to tell of
 * the pull, and before version 29 many such have status 500. Whatever comes later is words alone: the errors that led to each other,
 * outermost first, with `: ` between them. In them stand the codes of the registry's API in small letters (`denied`,
 * `manifest unknown`), so this one time we read words, and only such that are all of what stands between two colons. The first
 * code counts: what follows it is the registry's own text.
 */
export function registryRefusal({ status, said = '' }: EngineFault): RegistryRefusal | undefined {
  if (status === 401 || status === 403) return 'credentials'
  if (status === 404 || status === 400) return 'absent'
  for (const words of said.split(': ')) {
    const meaning = codes.get(words.trim().toLowerCase())
    if (meaning === 'transient') return undefined
    if (meaning !== undefined) return meaning
  }
  return undefined
}

const codes = new Map<string, RegistryRefusal | 'transient'>([
  // The codes of the registry's API that its clients see in a pull.
  ['unauthorized', 'credentials'],
  ['denied', 'credentials'],
  ['manifest unknown', 'absent'],
  ['name unknown', 'absent'],
  ['name invalid', 'absent'],
  ['toomanyrequests', 'transient'],
  ['unavailable', 'transient'],
  ['unknown', 'transient'],
  // It asked for credentials, and the Engine had none or those were refused: before the API, so without a code.
  ['no basic auth credentials', 'credentials'],
  // The lines of HTTP in what containerd says.
  ['401 unauthorized', 'credentials'],
  ['403 forbidden', 'credentials'],
  ['404 not found', 'absent'],
  // ENOSPC
  ['no space left on device', 'no room'],
])
