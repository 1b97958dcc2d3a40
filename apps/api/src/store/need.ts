import {
  dependenciesFor,
  fullImageName,
  type DownloadParams,
  type ExecutorSettings,
  type InstallParams,
  type MaintenanceType,
  type RuntimeName,
} from '@errand/shared'

/** Something that an executor's code needs where it runs, and a maintenance job can bring. */
export interface Need {
  type: MaintenanceType
  /** The same for all who need the same of one agent. */
  key: string
  params: DownloadParams | InstallParams
}

/** A version of an executor, as far as it says what its code needs. */
export interface NeedyExecutor {
  executor_id: string
  config_id: string
  name: string
  settings: ExecutorSettings
  has_secrets: readonly string[]
}

/**
 * What a maintenance job of this type brings for an executor: its image, or its packages for a runtime and those that
 * are asked for beside; or in words why there is no such thing.
 */
export async function needOf(
  type: MaintenanceType,
  executor: NeedyExecutor,
  runtime: RuntimeName,
  asked: readonly string[],
): Promise<Need | { fault: string }> {
  if (type === 'docker_image.download') return imageNeed(executor)
  try {
    return await dependenciesNeed(executor, runtime, asked)
  } catch (error) {
    return { fault: (error as Error).message }
  }
}

/** Whose registry knows it by credentials of its own downloads for itself: with others' it may be refused there. */
function imageNeed({ config_id, name, settings, has_secrets }: NeedyExecutor): Need | { fault: string } {
  const image = settings.executor_type === 'docker' ? fullImageName(settings.image) : undefined
  if (image === undefined) return { fault: `the executor ${name} has no image` }
  const own = has_secrets.includes('registry_auth') ? ` for ${config_id}` : ''
  return {
    type: 'docker_image.download',
    key: `image ${image}${own}`,
    params: { code_executor: name },
  }
}

async function dependenciesNeed(
  { config_id, name, settings }: NeedyExecutor,
  runtime: RuntimeName,
  asked: readonly string[],
): Promise<Need> {
  const dependencies = dependenciesFor(settings, runtime, asked)
  const set = new TextEncoder().encode(JSON.stringify([config_id, runtime, dependencies]))
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', set)).toHex()
  return {
    type: 'runtime.install',
    key: `set ${hash}`,
    params: { code_executor: name, runtime, dependencies },
  }
}
