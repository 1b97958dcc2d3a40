import { fullImageName } from '@errand/shared'
import type { AssignedExecutor, DockerExecutor } from '@errand/shared'
import type { Engine, Image } from './engine.ts'

/** @throws in words where the Engine does not have it */
export async function imageOf(engine: Engine, reference: string): Promise<Image> {
  const image = await engine.image(fullImageName(reference)!)
  if (!image)
    throw new Error(`the image ${reference} is not on this agent: pull it there (docker pull ${reference})`)
  return image
}

/** `code_executor_path`, where it is for the runtime of the job. */
export function namedInterpreter({
  executor,
  runtime,
}: Pick<AssignedExecutor, 'executor' | 'runtime'>): string | undefined {
  const settings = executor.settings as DockerExecutor
  return settings.runtime === runtime ? settings.code_executor_path : undefined
}
