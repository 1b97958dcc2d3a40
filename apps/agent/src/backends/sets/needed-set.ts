import { installsDependencies } from '@errand/shared'
import type { AssignedExecutor, ExecutorSettings } from '@errand/shared'
import type { InstallingRuntime } from '../../packages/install-steps.ts'
import type { PackageIndex } from '../../packages/package-index.ts'
import { setHash } from '../../packages/set-hash.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { Rejected } from '../backend.ts'

/** A dependency set as a run or an installation needs it: which one it is, and all that it takes to install it. */
export interface NeededSet {
  /** Its address: 64 hex digits. */
  hash: string
  /** The name of the executor that it is asked for. */
  executor: string
  runtime: InstallingRuntime
  /** With its version: `python3.11.2`. */
  runtimeId: string
  /** Absolute, where it is to be used. */
  interpreter: string
  /** Normalised. */
  dependencies: readonly string[]
  index: PackageIndex
  allowInstallScripts: boolean
}

/**
 * @param image the id of the image that the interpreter is in, where it is in one
 * @throws {Rejected} where its executor cannot have any
 */
export function neededSet(
  { executor: { name, settings }, runtime }: Pick<AssignedExecutor, 'executor' | 'runtime'>,
  dependencies: readonly string[],
  { id: runtimeId, interpreter }: Pick<FoundRuntime, 'id' | 'interpreter'>,
  image?: string,
): NeededSet {
  const { index_url, index_dir, index_auth, allow_install_scripts } = settings as ExecutorSettings
  if (!isInstalling(runtime)) throw new Rejected(`packages cannot be installed for ${runtime}`)
  if (index_url === undefined && index_dir === undefined)
    throw new Rejected(`the executor names no package index (index_url or index_dir)`)
  const index: PackageIndex = {
    kind: runtime,
    ...(index_url !== undefined && { url: index_url }),
    ...(index_dir !== undefined && { dir: index_dir }),
    ...(index_auth && { auth: index_auth }),
  }
  const set = {
    runtime,
    runtimeId,
    interpreter,
    dependencies,
    index,
    allowInstallScripts: allow_install_scripts,
  }
  return { ...set, executor: name, hash: setHash({ ...set, ...(image !== undefined && { image }) }) }
}

function isInstalling(runtime: AssignedExecutor['runtime']): runtime is InstallingRuntime {
  return installsDependencies(runtime)
}
