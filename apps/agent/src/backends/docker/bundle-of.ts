import { runtimes } from '@errand/shared'
import type { Bundle } from '@errand/box'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { programOf } from '../../runtimes/program.ts'
import type { Run } from '../backend.ts'
import { environmentAt } from '../box/environment.ts'
import { programPhases } from '../box/program-phases.ts'
import type { ContainerLimits } from './container-limits.ts'
import { tmpDir, workDir } from './container-spec.ts'
import type { Place } from './containers.ts'
import { directoriesOf } from './image-tools.ts'

/**
 * What the box of a job's container is asked to do.
 *
 * @param own variables of its dependency set
 */
export function bundleOf(
  run: Run,
  found: FoundRuntime,
  { image, limits, user }: Place,
  own: Readonly<Record<string, string>>,
): Bundle {
  const { assignment, submission } = run
  const program = programOf(submission, runtimes[assignment.runtime])
  const directories = directoriesOf(image)
  const env = {
    ...threadsFor(limits),
    ...image.env,
    ...environmentAt({ interpreter: found.interpreter, home: workDir, tmp: tmpDir, directories }),
    ...own,
  }
  return {
    workDir: { path: workDir, make: false },
    user,
    files: program.files,
    stdin: submission.stdin,
    phases: programPhases({ run, found, program, env }),
  }
}

/** Libraries make a thread for each core of the host, of which a container's quota leaves less. */
function threadsFor({ nanoCpus }: ContainerLimits): Record<string, string> {
  const threads = String(Math.max(1, Math.ceil(nanoCpus / 1e9)))
  return {
    OMP_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    GOMAXPROCS: threads,
  }
}
