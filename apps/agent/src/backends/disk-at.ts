import { statfs } from 'node:fs/promises'
import type { AgentStock } from '@errand/shared'

/** The disk that a path of this host lies on. */
export async function diskAt(path: string): Promise<AgentStock['disk'][number]> {
  const { bavail, blocks, bsize } = await statfs(path)
  return { path, total_bytes: blocks * bsize, free_bytes: bavail * bsize }
}
