import type { Log } from '../../log.ts'
import type { Engine } from './engine.ts'
import { labels } from './labels.ts'

/**
 * Removes containers of this agent that belong to no live run, and whatever agent's that were there too long: theirs
 * has died for good. `isLive` is asked by name. Never touches what does not carry our label.
 */
export async function removeLeftovers(
  engine: Engine,
  mark: string,
  isLive: (name: string) => boolean,
  log: Log,
): Promise<void> {
  const now = Date.now() / 1_000
  for (const { id, name, labels: carried } of await engine.containers(labels.agent)) {
    const own = carried[labels.agent] === mark
    const expired = Number(carried[labels.expiresAt] ?? Infinity) < now
    if (!(own && !isLive(name)) && !expired) continue
    log.warn({ container: name, expired }, 'a container that was left is removed')
    await engine.remove(id)
  }
}
