import {
  type ExecutorSettings,
  type ProblemDetail,
  type RuntimeName,
  dependencyFaults,
  installsDependencies,
  runtimeName,
} from '@errand/shared'
import { invalid } from '../http/validate.ts'

const installable = runtimeName.options.filter(installsDependencies).join(' and ')

/** Throws 422 where a caller names packages that this executor does not allow, or that can't be installed for this runtime. */
export function refuseDependencies(
  { allow_dependencies }: ExecutorSettings,
  runtime: RuntimeName,
  asked: readonly string[] = [],
): void {
  if (asked.length === 0) return
  const refused = (detail: string): ProblemDetail => ({ pointer: '/dependencies', detail })
  if (!allow_dependencies) throw invalid([refused('are not allowed by this executor (allow_dependencies)')])
  if (!installsDependencies(runtime))
    throw invalid([refused(`cannot be installed for ${runtime}, only for ${installable}`)])
  const faults = dependencyFaults(runtime, asked)
  if (faults.length > 0)
    throw invalid(faults.map(({ index, detail }) => ({ pointer: `/dependencies/${index}`, detail })))
}
