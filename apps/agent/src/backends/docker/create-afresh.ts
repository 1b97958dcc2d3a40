import type { ContainerCreateOptions } from 'dockerode'
import type { Engine } from './engine.ts'
import { answered } from './engine-fault.ts'
import { labels } from './labels.ts'

/** Creates a container of ours. Its name is taken where an answer to this very request was lost: no code has run in that. */
export async function createAfresh(
  engine: Engine,
  name: string,
  spec: ContainerCreateOptions,
): Promise<string> {
  try {
    return await engine.create(name, spec)
  } catch (error) {
    if (!answered(error, 409)) throw error
    const own = await engine.containers(`${labels.agent}=${spec.Labels![labels.agent]}`)
    if (!own.some((one) => one.name === name)) throw error
    await engine.remove(name)
    return engine.create(name, spec)
  }
}
