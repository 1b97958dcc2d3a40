import { stat } from 'node:fs/promises'
import type { AgentStock } from '@errand/shared'
import { diskAt } from '../disk-at.ts'

/** The disks that these folders lie on, each once; without those of which nothing can be told. */
export async function disksOf(paths: readonly string[]): Promise<AgentStock['disk']> {
  const disks = new Map<number, AgentStock['disk'][number]>()
  for (const path of paths)
    try {
      const [{ dev }, disk] = await Promise.all([stat(path), diskAt(path)])
      if (!disks.has(dev)) disks.set(dev, disk)
    } catch {
      // It is not there yet.
    }
  return [...disks.values()]
}
