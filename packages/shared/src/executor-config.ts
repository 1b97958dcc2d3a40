import { z } from 'zod'
import { dependencySet } from './agent-stock.ts'
import { dependencies, dependencyFaults } from './dependencies.ts'
import { hostKeyLine, hostKeySha256 } from './host-key.ts'
import { imageName } from './image-reference.ts'
import { sizeLimits } from './size-limits.ts'
import { labels, name, oneLine, plainText, seconds } from './text.ts'
import { runtimeName, type RuntimeName } from './runtimes.ts'

/** `docker`: container on an Engine; `ssh`: remote system; `localhost`: the agent's own host. */
export const executorType = z.enum(['docker', 'ssh', 'localhost'])
export type ExecutorType = z.infer<typeof executorType>

const absolutePath = plainText(4_096).refine((path) => path.startsWith('/'), 'must be an absolute path')

/** Whoever may read the executor sees it: credentials go into `index_auth`. */
const indexUrl = z
  .url({ protocol: /^https?$/ })
  .max(2_048)
  .refine(
    (url) => !/[?#]|\/\/[^/]*@/.test(url),
    'must have no query, fragment or credentials (see index_auth)',
  )
const credentials = z.strictObject({ username: oneLine(256), password: plainText(8_192) })

/** Keys that every executor has, with the defaults of architecture.md. Times are seconds, sizes as the names say. */
const common = {
  /** Replaces the interpreter of this executor's own `runtime`. */
  code_executor_path: absolutePath.optional(),
  runtime: runtimeName.default('python'),
  timeout_sec: seconds.default(30),
  /** The most a caller may ask for; the larger of 300 and `timeout_sec` when absent. */
  max_timeout_sec: seconds.optional(),
  output_limit_kb: z.int().min(1).max(sizeLimits.outputLimitKb).default(1_024),
  /** Only agents that carry all of these may run it. */
  agent_labels: labels.default({}),
  /** At most this many of its executions are assigned or running at once, whichever agents they are on. */
  max_concurrency: z.int().min(1).max(100_000).optional(),
  /** Whether callers may name packages beside `dependencies`. */
  allow_dependencies: z.boolean().default(false),
  /** Packages that every execution in the executor's own runtime has. */
  dependencies: dependencies.optional(),
  /** Where packages come from: an index of the runtime's kind (Python's simple index, an npm registry), or a folder of the agent's host with wheels or tarballs. */
  index_url: indexUrl.optional(),
  index_dir: absolutePath.optional(),
  index_auth: credentials.optional(),
  /** Whether packages may run code while they are installed: source distributions, npm's install scripts. */
  allow_install_scripts: z.boolean().default(false),
  description: oneLine(1_000).optional(),
  enabled: z.boolean().default(true),
}

/** Kernels take the last of 32 bits for none, and some programs all that are negative in as many. */
export const maxUserId = 2 ** 31 - 2

export const dockerExecutor = z
  .strictObject({
    ...common,
    image: imageName,
    mem_limit_mb: z.int().min(4).max(1_048_576).default(1_024),
    cpus_limit_cores: z.number().min(0.01).max(1_024).default(1),
    pids_limit: z.int().min(1).max(4_194_304).default(128),
    disk_limit_mb: z.int().min(1).max(1_048_576).default(256),
    network: z.enum(['none', 'bridge']).default('none'),
    pull_policy: z.enum(['missing', 'always', 'never']).default('missing'),
    registry_auth: credentials.optional(),
    warm: z.int().min(0).max(1_000).default(0),
    engine: z.enum(['docker', 'oci']).default('docker'),
    oci_runtime: name.optional(),
    user: z
      .string()
      .regex(/^\d+(:\d+)?$/, { error: 'must be numeric: UID or UID:GID', abort: true })
      .refine(
        (user) => user.split(':').every((id) => Number(id) <= maxUserId),
        `must not be above ${maxUserId}`,
      )
      .optional(),
  })
  .superRefine(timeoutsAgree)
  .superRefine(dependenciesAgree)

/**
 * While it is disabled, host key and credentials may be missing: so it can be made before its target's key is known,
 * which `POST /executors/{name}/host-key` then shows and stores.
 */
export const sshExecutor = z
  .strictObject({
    ...common,
    host: oneLine(253).min(1),
    port: z.int().min(1).max(65_535).default(22),
    username: oneLine(256).min(1),
    password: plainText(8_192).optional(),
    /** The key itself, or a path that the agent's policy file lists. Tried before the password. */
    private_key: plainText(65_536).optional(),
    passphrase: plainText(8_192).optional(),
    /** One OpenSSH public key line, or two while a target's key is being changed. */
    host_key: z.union([hostKeyLine, z.array(hostKeyLine).min(1).max(2)]).optional(),
    host_key_sha256: hostKeySha256.optional(),
    mem_limit_mb: z.int().min(4).max(1_048_576).optional(),
    cpus_limit_cores: z.number().min(0.01).max(1_024).optional(),
    pids_limit: z.int().min(1).max(4_194_304).optional(),
    disk_limit_mb: z.int().min(1).max(1_048_576).optional(),
  })
  .superRefine(timeoutsAgree)
  .superRefine(dependenciesAgree)
  .superRefine((given, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message })
    if (given.enabled && given.host_key === undefined && given.host_key_sha256 === undefined)
      issue(
        'host_key',
        'is required (or host_key_sha256), unless it is disabled: the target is never trusted on first use',
      )
    if (given.host_key !== undefined && given.host_key_sha256 !== undefined)
      issue('host_key_sha256', 'must not be given together with host_key')
    if (given.enabled && given.password === undefined && given.private_key === undefined)
      issue('private_key', 'is required (or password), unless it is disabled')
    if (given.passphrase !== undefined && given.private_key === undefined)
      issue('passphrase', 'needs private_key')
  })

export const localhostExecutor = z
  .strictObject({
    ...common,
    /** Root of the per-execution directories; other than the agent's own only if its policy lists it. */
    work_dir: absolutePath.optional(),
    sandbox: z.enum(['required', 'preferred', 'none']).default('required'),
    mem_limit_mb: z.int().min(4).max(1_048_576).optional(),
    cpus_limit_cores: z.number().min(0.01).max(1_024).optional(),
    pids_limit: z.int().min(1).max(4_194_304).optional(),
    disk_limit_mb: z.int().min(1).max(1_048_576).optional(),
  })
  .superRefine(timeoutsAgree)
  .superRefine(dependenciesAgree)

export type DockerExecutor = z.infer<typeof dockerExecutor>
export type SshExecutor = z.infer<typeof sshExecutor>
export type LocalhostExecutor = z.infer<typeof localhostExecutor>

/** A validated configuration with its type: what the agent gets and what the store keeps (without `secretFields`). */
export type ExecutorSettings =
  | ({ executor_type: 'docker' } & DockerExecutor)
  | ({ executor_type: 'ssh' } & SshExecutor)
  | ({ executor_type: 'localhost' } & LocalhostExecutor)

export const executorSchemas = {
  docker: dockerExecutor,
  ssh: sshExecutor,
  localhost: localhostExecutor,
} as const

/** Whether `private_key` is a path on the agent's host and not the key itself, which begins in other ways. */
export function isKeyPath(privateKey: string): boolean {
  return /^(~\/|\/)/.test(privateKey)
}

/** Fields that are write-only, encrypted at rest, and sent only to the agent that runs the job (promise 9). */
export const secretFields: Record<ExecutorType, readonly string[]> = {
  docker: ['registry_auth', 'index_auth'],
  ssh: ['password', 'private_key', 'passphrase', 'index_auth'],
  localhost: ['index_auth'],
}

/** What is in the contract but still to come, with the one value it may have until then. */
const untilThen: Readonly<Record<string, unknown>> = { warm: 0, engine: 'docker' }

/** The fields of these settings that ask for what is still to come: to be refused, never ignored. */
export function fieldsToCome(settings: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(untilThen).filter((field) => (settings[field] ?? untilThen[field]) !== untilThen[field])
}

/** The longest `timeout_sec` a caller may ask of this executor. */
export function maxTimeoutSec(given: { timeout_sec: number; max_timeout_sec?: number | undefined }): number {
  return given.max_timeout_sec ?? Math.max(300, given.timeout_sec)
}

function timeoutsAgree(
  given: { timeout_sec: number; max_timeout_sec?: number | undefined },
  context: z.RefinementCtx,
): void {
  if (given.timeout_sec > maxTimeoutSec(given))
    context.addIssue({ code: 'custom', path: ['max_timeout_sec'], message: 'must not be below timeout_sec' })
}

function dependenciesAgree(
  given: {
    runtime: RuntimeName
    dependencies?: string[] | undefined
    allow_dependencies: boolean
    index_url?: string | undefined
    index_dir?: string | undefined
    index_auth?: unknown
  },
  context: z.RefinementCtx,
): void {
  const issue = (path: (string | number)[], message: string) =>
    context.addIssue({ code: 'custom', path, message })
  const { dependencies = [], runtime, index_url, index_dir } = given
  for (const { index, detail } of dependencyFaults(runtime, dependencies))
    issue(['dependencies', index], detail)
  if (
    (dependencies.length > 0 || given.allow_dependencies) &&
    index_url === undefined &&
    index_dir === undefined
  )
    issue(
      ['index_url'],
      'is required (or index_dir) where there are dependencies: nothing is fetched from elsewhere',
    )
  if (index_url !== undefined && index_dir !== undefined)
    issue(['index_dir'], 'must not be given together with index_url')
  if (given.index_auth !== undefined && index_url === undefined) issue(['index_auth'], 'needs index_url')
}

/** `POST /executors`: a name, a type and that type's keys. */
export const newExecutor = z.looseObject({ name, executor_type: executorType })

/** What `GET /executors` shows: `settings` without secrets, `has_secrets` naming those that are stored. */
export const executor = z.strictObject({
  executor_id: z.uuid(),
  name,
  executor_type: executorType,
  config_id: z.uuid(),
  source: z.enum(['config', 'default', 'rest']),
  enabled: z.boolean(),
  settings: z.record(z.string(), z.unknown()),
  has_secrets: z.array(z.string()),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
})
export type Executor = z.infer<typeof executor>

/** What `GET /executors/{name}` shows beside: the dependency sets that agents have for it, as they last told. */
export const shownExecutor = executor.extend({
  dependency_sets: z.array(dependencySet.extend({ agent_id: z.uuid(), agent: name })),
})
export type ShownExecutor = z.infer<typeof shownExecutor>
