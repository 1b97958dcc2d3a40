import { statSync } from 'node:fs'
import type { RuntimeName } from '@errand/shared'
import { findRuntime } from './find-runtime.ts'
import type { Ask, FoundRuntime } from './find-runtime.ts'

export type RuntimeLookup = (name: RuntimeName, interpreter?: string) => Promise<FoundRuntime | undefined>

/**
 * `findRuntime`, asked once for each tool and again only when its file has changed (an upgrade) or while it is not
 * found (it may have been installed since).
 */
export function rememberRuntimes(ask: Ask): RuntimeLookup {
  const known = new Map<string, { stamp: string; found: Promise<FoundRuntime | undefined> }>()
  return async (name, interpreter) => {
    const key = `${name} ${interpreter ?? ''}`
    const earlier = known.get(key)
    if (earlier) {
      const found = await earlier.found
      if (found && stampOf(found.interpreter) === earlier.stamp) return found
      known.delete(key)
    }
    const entry = { stamp: '', found: findRuntime(name, ask, interpreter) }
    known.set(key, entry)
    const found = await entry.found
    if (found) entry.stamp = stampOf(found.interpreter)
    else known.delete(key)
    return found
  }
}

function stampOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : ''
}
