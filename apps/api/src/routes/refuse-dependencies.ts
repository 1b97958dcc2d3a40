import { type ExecutorSettings, type RuntimeName, dependencyFaults } from '@errand/shared'
import { invalid } from '../http/validate.ts'

/** Throws 422 where a caller names packages that this executor does not allow, or that can't be installed for this runtime. */
export function refuseDependencies(
  { allow_dependencies, runtime: ownRuntime, dependencies: own = [] }: ExecutorSettings,
  runtime: RuntimeName,
  asked: readonly string[] = [],
): void {
  if (asked.length === 0) return
  if (!allow_dependencies) {
    const detail = 'are not allowed by this executor (allow_dependencies)'
    throw invalid([{ pointer: '/dependencies', detail }])
  }
  const faults = dependencyFaults(runtime, asked, runtime === ownRuntime ? own : [])
  if (faults.length > 0)
    throw invalid(faults.map(({ index, detail }) => ({ pointer: `/dependencies/${index}`, detail })))
}
