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

/** Its image. Who has credentials of its own for the registry downloads for itself: others' may be refused there. */
export function imageNeed({ executor_id, name, settings, has_secrets }: NeedyExecutor): Need {
  const image = settings.executor_type === 'docker' ? fullImageName(settings.image) : undefined
  if (image === undefined) throw new Error(`the executor ${name} has no image`)
  const own = has_secrets.includes('registry_auth') ? ` for ${executor_id}` : ''
  return {
    type: 'docker_image.download',
    key: `image ${image}${own}`,
    params: { code_executor: name },
  }
}

/** Its packages for a runtime, and those that are asked for beside. */
export async function dependenciesNeed(
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
