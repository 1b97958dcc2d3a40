import { stat, statfs } from 'node:fs/promises'
import type { AgentStock } from '@errand/shared'

/** The disks that these folders lie on, each once; without those of which nothing can be told. */
export async function disksOf(paths: readonly string[]): Promise<AgentStock['disk']> {
  const disks = new Map<number, AgentStock['disk'][number]>()
  for (const path of paths)
    try {
      const [{ dev }, { bsize, blocks, bavail }] = await Promise.all([stat(path), statfs(path)])
      if (!disks.has(dev)) disks.set(dev, { path, total_bytes: blocks * bsize, free_bytes: bavail * bsize })
    } catch {
      // It is not there yet.
    }
  return [...disks.values()]
}
