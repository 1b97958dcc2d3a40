import { fullImageName } from '@errand/shared'
import type { AssignedExecutor, DockerExecutor } from '@errand/shared'
import { Missing } from '../backend.ts'
import type { Engine, Image } from './engine.ts'

/**
 * The executor's image; `isFresh` says that it was downloaded since the job was submitted.
 *
 * @throws {Missing} where a download is to come first; in words where there must be none
 */
export async function imageOf(
  engine: Engine,
  { image: reference, pull_policy: policy }: DockerExecutor,
  isFresh: boolean,
): Promise<Image> {
  if (policy === 'always' && !isFresh)
    throw new Missing(
      download,
      `pull_policy is always: the image ${reference} is looked for at its registry first`,
    )
  const image = await engine.image(fullImageName(reference)!)
  if (image) return image
  if (policy === 'never')
    throw new Error(
      `the image ${reference} is not on this agent, and pull_policy is never: pull it there (docker pull ${reference})`,
    )
  throw new Missing(download, `the image ${reference} is not on this agent`)
}

const download = 'docker_image.download'

/** `code_executor_path`, where it is for the runtime of the job. */
export function namedInterpreter({
  executor,
  runtime,
}: Pick<AssignedExecutor, 'executor' | 'runtime'>): string | undefined {
  const settings = executor.settings as DockerExecutor
  return settings.runtime === runtime ? settings.code_executor_path : undefined
}
