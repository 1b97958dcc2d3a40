import { createHash } from 'node:crypto'
import type { Installation } from './install-steps.ts'
import type { PackageIndex } from './package-index.ts'

/** All that a set depends on: where one of these differs, it is another set. */
export interface SetIdentity extends Pick<Installation, 'runtime' | 'interpreter' | 'allowInstallScripts'> {
  /** `python3.11.2` */
  runtimeId: string
  /** The id of the image, where it is for a container. */
  image?: string
  /** Normalised. */
  dependencies: readonly string[]
  index: PackageIndex
}

/**
 * The address of a set, 64 hex digits: the same for all that could share it. Who is known to the index may get packages
 * that others don't, so the user's name counts; never the password, since hashes are shown.
 */
export function setHash(set: SetIdentity): string {
  const { runtime, runtimeId, interpreter, image, dependencies, index, allowInstallScripts } = set
  const identity = [runtime, runtimeId, interpreter, image ?? null, dependencies]
  const source = [index.url ?? null, index.dir ?? null, index.auth?.username ?? null, allowInstallScripts]
  return createHash('sha256')
    .update(JSON.stringify([layout, ...identity, ...source]))
    .digest('hex')
}

/** To be raised when sets of older agents are laid out otherwise. */
const layout = 1
