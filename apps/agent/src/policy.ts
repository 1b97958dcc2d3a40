import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { agentPolicy, executorSchemas, fullImageName, isKeyPath, problemDetails } from '@errand/shared'
import type {
  AgentPolicy,
  AssignedExecutor,
  DockerExecutor,
  LocalhostExecutor,
  SshExecutor,
} from '@errand/shared'
import { YAMLParseError, parse } from 'yaml'

/**
 * Reads `agent-policy.yaml` of the agent's directory; without one, the defaults stand.
 *
 * @throws naming file, path and reason
 */
export function readPolicy(agentDir: string): AgentPolicy {
  const path = join(agentDir, 'agent-policy.yaml')
  const parsed = agentPolicy.safeParse(readYaml(path) ?? {})
  if (parsed.success) return parsed.data
  const reasons = problemDetails(parsed.error).map(({ pointer, detail }) => `${pointer || '/'} ${detail}`)
  throw new Error(`${path}: ${reasons.join('; ')}`)
}

/**
 * Why this agent's operator does not allow the job, in words for the caller; undefined when it is allowed. Whatever
 * the control plane says: it may be in other hands.
 */
export function refusal(
  policy: AgentPolicy,
  assignment: Pick<AssignedExecutor, 'executor' | 'limits'>,
): string | undefined {
  const { executor_type: type, settings } = assignment.executor
  if (!policy.backends.includes(type)) return `this agent's policy allows no ${type} executors`
  const { executor_type: _, ...given } = settings
  const parsed = executorSchemas[type].safeParse(given)
  if (!parsed.success) {
    const [first] = problemDetails(parsed.error)
    return `this agent does not understand the executor's settings: ${first?.pointer} ${first?.detail}`
  }
  const excess = excessOf(policy, { ...parsed.data, ...assignment.limits })
  if (excess !== undefined) return excess
  const path = parsed.data.code_executor_path
  if (path !== undefined && policy.code_executor_paths && !policy.code_executor_paths.includes(path))
    return `this agent's policy does not list the code_executor_path ${path}`
  const index = indexRefusal(policy, parsed.data)
  if (index !== undefined) return index
  if (type === 'docker') return dockerRefusal(policy, parsed.data as DockerExecutor)
  if (type === 'ssh') return sshRefusal(policy, parsed.data as SshExecutor)
  return localhostRefusal(policy, parsed.data as LocalhostExecutor, assignment.executor.source)
}

function excessOf(policy: AgentPolicy, limits: Record<string, unknown>): string | undefined {
  for (const name of limitNames) {
    const [asked, most] = [limits[name], policy[`max_${name}`]]
    if (typeof asked === 'number' && most !== undefined && asked > most)
      return `${name} ${asked} is above the ${most} of this agent's policy`
  }
  return undefined
}

const limitNames = [
  'timeout_sec',
  'output_limit_kb',
  'mem_limit_mb',
  'cpus_limit_cores',
  'pids_limit',
  'disk_limit_mb',
] as const

function indexRefusal(
  { index_urls, index_dirs }: AgentPolicy,
  { index_url, index_dir }: { index_url?: string | undefined; index_dir?: string | undefined },
): string | undefined {
  if (index_url !== undefined && index_urls && !index_urls.some((allowed) => isBelow(index_url, allowed)))
    return `this agent's policy does not list the index_url ${index_url}`
  if (index_dir !== undefined && !index_dirs.includes(index_dir))
    return `this agent's policy does not list the index_dir ${index_dir}`
  return undefined
}

/** Whether a URL is `allowed` or lies below it; what some servers take for a slash is never below anything. */
function isBelow(url: string, allowed: string): boolean {
  const [one, above] = [URL.parse(url), URL.parse(allowed)]
  if (one === null || above?.origin !== one.origin || /%2f|%5c/i.test(one.pathname)) return false
  const [path, prefix] = [one, above].map(({ pathname }) => pathname.replace(/\/*$/, '/')) as [string, string]
  return path.startsWith(prefix)
}

function dockerRefusal({ images }: AgentPolicy, { image }: DockerExecutor): string | undefined {
  if (!images || images.map(fullImageName).includes(fullImageName(image))) return undefined
  return `this agent's policy does not list the image ${image}`
}

function sshRefusal(
  policy: AgentPolicy,
  { host_key, host_key_sha256, private_key }: SshExecutor,
): string | undefined {
  if (host_key === undefined && host_key_sha256 === undefined)
    return 'the executor has no host key yet, and no target is trusted on first use'
  const isPath = private_key !== undefined && isKeyPath(private_key)
  if (isPath && !policy.private_key_paths.includes(private_key))
    return `this agent's policy does not list the private_key ${private_key}`
  return undefined
}

function localhostRefusal(
  policy: AgentPolicy,
  executor: LocalhostExecutor,
  source: AssignedExecutor['executor']['source'],
): string | undefined {
  if (executor.sandbox === 'none' && policy.shares_api_user)
    return 'sandbox: none is refused: this agent runs as the user of the API, whose files the code could read'
  if (executor.sandbox === 'none' && !policy.allow_unsandboxed)
    return "sandbox: none is refused: this agent's policy does not say allow_unsandboxed: true"
  if (executor.sandbox === 'none' && policy.allow_unsandboxed === 'config' && source === 'rest')
    return "sandbox: none is refused: this agent's policy allows it (allow_unsandboxed: config) to executors of config.yaml only"
  if (executor.work_dir !== undefined && !policy.work_dirs.includes(executor.work_dir))
    return `this agent's policy does not list the work_dir ${executor.work_dir}`
  return undefined
}

function readYaml(path: string): unknown {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error
    throw new Error(`${path}: ${error.message}`, { cause: error })
  }
}
