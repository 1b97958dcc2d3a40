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
 * @throws {Rejected} naming a limit that this Engine can't keep
 */
export function containerLimits(
  { limits, executor }: Pick<AssignedExecutor, 'limits' | 'executor'>,
  facts: EngineFacts,
): ContainerLimits {
  const settings = executor.settings as DockerExecutor
  for (const [kept, name] of [
    [facts.keeps.memory, 'mem_limit_mb'],
    [facts.keeps.cpus, 'cpus_limit_cores'],
    [facts.keeps.pids, 'pids_limit'],
  ] as const)
    if (!kept) throw new Rejected(`the Docker Engine cannot keep ${name}: its host lacks that control group`)
  const memoryMb = limits.mem_limit_mb ?? settings.mem_limit_mb
  if (memoryMb < leastMemoryMb)
    throw new Rejected(`mem_limit_mb ${memoryMb} is too small: a container needs at least ${leastMemoryMb}`)
  const memoryBytes = memoryMb * mb
  const diskBytes = Math.min((limits.disk_limit_mb ?? settings.disk_limit_mb) * mb, memoryBytes / 2)
  const cpus = limits.cpus_limit_cores ?? settings.cpus_limit_cores
  return {
    memoryBytes,
    // More than there are is refused, and is no limit.
    nanoCpus: Math.round(Math.min(cpus, facts.cpus) * 1e9),
    pids: (limits.pids_limit ?? settings.pids_limit) + 1,
    diskBytes,
    tmpBytes: Math.ceil(diskBytes / 4),
    outputBytes: limits.output_limit_kb * 1_024,
  }
}

const mb = 1_024 * 1_024
/** The Engine's own least. */
const leastMemoryMb = 6
