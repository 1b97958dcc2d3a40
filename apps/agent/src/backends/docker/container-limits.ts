import type { AssignedExecutor, DockerExecutor } from '@errand/shared'
import { Rejected } from '../backend.ts'
import type { EngineFacts } from './engine.ts'

/** What one container may use. */
export interface ContainerLimits {
  memoryBytes: number
  nanoCpus: number
  /** With the box. */
  pids: number
  /** Of the work directory; what is written counts as memory too. */
  diskBytes: number
  tmpBytes: number
  outputBytes: number
}

/**
 * The limits of the job, or where they say nothing its executor's.
 *
 * @throws {Rejected} naming one that no container can have
 */
export function containerLimits(
  { limits, executor }: Pick<AssignedExecutor, 'limits' | 'executor'>,
  { cpus: cores }: Pick<EngineFacts, 'cpus'>,
): ContainerLimits {
  const settings = executor.settings as DockerExecutor
  const memoryMb = limits.mem_limit_mb ?? settings.mem_limit_mb
  if (memoryMb < leastMemoryMb)
    throw new Rejected(`mem_limit_mb ${memoryMb} is too small: a container needs at least ${leastMemoryMb}`)
  const memoryBytes = memoryMb * mb
  const diskBytes = Math.min((limits.disk_limit_mb ?? settings.disk_limit_mb) * mb, memoryBytes / 2)
  const cpus = limits.cpus_limit_cores ?? settings.cpus_limit_cores
  return {
    memoryBytes,
    // More than there are is refused, and is no limit.
    nanoCpus: Math.round(Math.min(cpus, cores) * 1e9),
    pids: (limits.pids_limit ?? settings.pids_limit) + 1,
    diskBytes,
    tmpBytes: Math.ceil(diskBytes / 4),
    outputBytes: limits.output_limit_kb * 1_024,
  }
}

/** Under which tools are asked for their versions, whatever the job's own are. */
export const askingLimits: ContainerLimits = {
  memoryBytes: 512 * 1_024 * 1_024,
  nanoCpus: 1e9,
  pids: 65,
  diskBytes: 64 * 1_024 * 1_024,
  tmpBytes: 16 * 1_024 * 1_024,
  outputBytes: 1_024 * 1_024,
}

const mb = 1_024 * 1_024
/** The Engine's own least. */
const leastMemoryMb = 6
