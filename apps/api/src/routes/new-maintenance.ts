import {
  type DownloadParams,
  type InstallParams,
  type MaintenanceType,
  type NewJob,
  type RuntimeName,
  dependenciesFor,
  downloadParams,
  installParams,
  maintenanceDefaults,
  normalDependencies,
} from '@errand/shared'
import type { Parts } from '../app.ts'
import type { Submitter } from '../http/submitter.ts'
import { invalid, valid } from '../http/validate.ts'
import type { ExecutorRow } from '../store/executors.ts'
import { newId } from '../store/new-id.ts'
import type { NewMaintenance } from '../store/submit-job.ts'
import type { ExecutorCache } from './executor-cache.ts'
import { knownExecutor } from './known-executor.ts'
import { refuseDependencies } from './refuse-dependencies.ts'

type Understood = Pick<NewMaintenance, 'executor' | 'runtime' | 'params'>
type Find = (name: string) => Promise<ExecutorRow>

/** Of each type what its params mean, or what is against them: 404, 422 with pointers into them. */
const understand: Record<MaintenanceType, (params: unknown, find: Find) => Promise<Understood>> = {
  'docker_image.download': async (params, find) => toDownload(valid(downloadParams, params), find),
  'runtime.install': async (params, find) => toInstall(valid(installParams, params), find),
}

/** A job that is no execution, as it is to be stored. Pointers are those into its params. */
export async function newMaintenance(
  type: MaintenanceType,
  { params, timeout_sec, retry }: NewJob,
  { principal, idempotency }: Submitter,
  parts: Pick<Parts, 'db'>,
  executors: ExecutorCache,
): Promise<NewMaintenance> {
  const find: Find = async (name) => (await knownExecutor(parts, executors, name, '/code_executor')).executor
  return {
    ...(await understand[type](params, find)),
    id: newId(),
    type,
    project: principal.project,
    keyId: principal.key_id,
    idempotency,
    timeoutSec: timeout_sec ?? maintenanceDefaults.timeout_sec,
    maxAttempts: retry?.max_attempts ?? maintenanceDefaults.max_attempts,
  }
}

async function toDownload({ code_executor }: DownloadParams, find: Find): Promise<Understood> {
  const executor = await find(code_executor)
  const refused = (why: string) =>
    invalid([{ pointer: '/code_executor', detail: `names ${code_executor}, ${why}` }])
  const { settings } = executor
  if (settings.executor_type !== 'docker') throw refused(`which is of type ${settings.executor_type}`)
  if (settings.pull_policy === 'never') throw refused('whose image is never downloaded (pull_policy)')
  return { executor, runtime: settings.runtime, params: { code_executor } }
}

async function toInstall(
  { code_executor, runtime: given, dependencies }: InstallParams,
  find: Find,
): Promise<Understood> {
  const executor = await find(code_executor)
  const { settings } = executor
  const runtime: RuntimeName = given ?? settings.runtime
  refuseDependencies(settings, runtime, dependencies)
  if (dependenciesFor(settings, runtime, dependencies).length === 0) {
    const detail = `name nothing, and ${code_executor} names nothing itself for ${runtime}`
    throw invalid([{ pointer: '/dependencies', detail }])
  }
  return {
    executor,
    runtime,
    params: { code_executor, runtime, dependencies: normalDependencies(runtime, dependencies) },
  }
}
