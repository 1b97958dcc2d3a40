import type { AgentStock } from '@errand/shared'
import { diskAt } from '../disk-at.ts'
import type { Engine, EngineFacts } from './engine.ts'

/** How many MB (of 1,048,576 bytes) are free where the Engine keeps images; undefined where that is not this host's to look at. */
export async function freeMbOf(
  engine: Pick<Engine, 'isLocal'>,
  facts: Pick<EngineFacts, 'rootDir'>,
): Promise<number | undefined> {
  const disk = await diskOf(engine, facts)
  return disk && Math.floor(disk.free_bytes / mb)
}

/** The disk on which the Engine keeps images; undefined where that is not this host's to look at. */
export async function diskOf(
  { isLocal }: Pick<Engine, 'isLocal'>,
  { rootDir }: Pick<EngineFacts, 'rootDir'>,
): Promise<AgentStock['disk'][number] | undefined> {
  if (!isLocal) return undefined
  try {
    return await diskAt(rootDir)
  } catch {
    return undefined
  }
}

/** Why so much more must not be brought there, in words; undefined where it may, or nobody knows. */
export function lackOfRoom(
  freeMb: number | undefined,
  { rootDir }: Pick<EngineFacts, 'rootDir'>,
  { minFreeMb, bytesToCome = 0 }: { minFreeMb: number; bytesToCome?: number },
): string | undefined {
  const toComeMb = Math.ceil(bytesToCome / mb)
  if (freeMb === undefined || freeMb - toComeMb >= minFreeMb) return undefined
  const toCome = toComeMb > 0 ? `${toComeMb} MB of the image are still to come, and ` : ''
  return `no room for the image: ${freeMb} MB are free in ${rootDir}, where the Engine keeps images; ${toCome}this agent's policy keeps ${minFreeMb} MB free (disk.min_free_mb)`
}

const mb = 1_048_576
