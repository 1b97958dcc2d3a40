import type { DockerExecutor } from '@errand/shared'
import { Rejected } from '../backend.ts'

/** @throws {Rejected} for settings that mean something which is still to come: none is silently ignored */
export function refuseWhatIsToCome(settings: DockerExecutor): void {
  const asked = [
    settings.network === 'bridge' && 'network: bridge',
    settings.engine === 'oci' && 'engine: oci',
    settings.oci_runtime !== undefined && 'oci_runtime',
    settings.warm > 0 && 'warm',
  ].filter((one) => one !== false)
  if (asked.length > 0) throw new Rejected(`not available yet on docker executors: ${asked.join(', ')}`)
}
